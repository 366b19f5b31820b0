// SPDX-License-Identifier: GPL-2.0-only
/*
 * The controls of each codec, as rows of a table.
 *
 * Each codec needs one entry in kdec_codecs: its controls, the one control
 * without which a request cannot be decoded, and a function that reads the
 * references of a picture out of that control.  Clients learn what can be
 * decoded from the profile and level menus, so these hold what the daemon
 * advertised.
 */
#include <linux/bits.h>

#include "kdec.h"

/* NV12 is all that comes out: pictures with other samples are refused here. */
static int kdec_check_mpeg2_sequence(const void *value)
{
	const struct v4l2_ctrl_mpeg2_sequence *sequence = value;

	return sequence->chroma_format == 1 ? 0 : -EINVAL;
}

static int kdec_check_h264_sps(const void *value)
{
	const struct v4l2_ctrl_h264_sps *sps = value;

	if (sps->chroma_format_idc > 1 || sps->bit_depth_luma_minus8 ||
	    sps->bit_depth_chroma_minus8)
		return -EINVAL;
	return 0;
}

static int kdec_check_vp9_frame(const void *value)
{
	const struct v4l2_ctrl_vp9_frame *frame = value;

	return !frame->profile && frame->bit_depth == 8 ? 0 : -EINVAL;
}

static void kdec_refer(struct kdec_timestamps *ts, unsigned int n, u64 timestamp)
{
	ts->used |= BIT(n);
	ts->timestamp[n] = timestamp;
}

static void kdec_mpeg2_references(const void *value, struct kdec_timestamps *ts)
{
	const struct v4l2_ctrl_mpeg2_picture *picture = value;

	if (picture->picture_coding_type != V4L2_MPEG2_PIC_CODING_TYPE_I)
		kdec_refer(ts, 0, picture->forward_ref_ts);
	if (picture->picture_coding_type == V4L2_MPEG2_PIC_CODING_TYPE_B)
		kdec_refer(ts, 1, picture->backward_ref_ts);
}

static void kdec_h264_references(const void *value, struct kdec_timestamps *ts)
{
	const struct v4l2_ctrl_h264_decode_params *params = value;
	unsigned int i;

	for (i = 0; i < V4L2_H264_NUM_DPB_ENTRIES; i++) {
		if (params->dpb[i].flags & (V4L2_H264_DPB_ENTRY_FLAG_VALID |
					    V4L2_H264_DPB_ENTRY_FLAG_ACTIVE))
			kdec_refer(ts, i, params->dpb[i].reference_ts);
	}
}

static void kdec_vp8_references(const void *value, struct kdec_timestamps *ts)
{
	const struct v4l2_ctrl_vp8_frame *frame = value;

	if (V4L2_VP8_FRAME_IS_KEY_FRAME(frame))
		return;
	kdec_refer(ts, 0, frame->last_frame_ts);
	kdec_refer(ts, 1, frame->golden_frame_ts);
	kdec_refer(ts, 2, frame->alt_frame_ts);
}

static void kdec_vp9_references(const void *value, struct kdec_timestamps *ts)
{
	const struct v4l2_ctrl_vp9_frame *frame = value;

	if (frame->flags & (V4L2_VP9_FRAME_FLAG_KEY_FRAME |
			    V4L2_VP9_FRAME_FLAG_INTRA_ONLY))
		return;
	kdec_refer(ts, 0, frame->last_frame_ts);
	kdec_refer(ts, 1, frame->golden_frame_ts);
	kdec_refer(ts, 2, frame->alt_frame_ts);
}

static const struct kdec_control kdec_mpeg2_controls[] = {
	{ V4L2_CID_STATELESS_MPEG2_SEQUENCE, KDEC_CONTROL_JOB,
	  .check = kdec_check_mpeg2_sequence },
	{ V4L2_CID_STATELESS_MPEG2_PICTURE, KDEC_CONTROL_JOB },
	{ V4L2_CID_STATELESS_MPEG2_QUANTISATION, KDEC_CONTROL_JOB },
	{ V4L2_CID_MPEG_VIDEO_MPEG2_PROFILE, KDEC_CONTROL_PROFILE,
	  V4L2_MPEG_VIDEO_MPEG2_PROFILE_MULTIVIEW },
	{ V4L2_CID_MPEG_VIDEO_MPEG2_LEVEL, KDEC_CONTROL_LEVEL,
	  V4L2_MPEG_VIDEO_MPEG2_LEVEL_HIGH },
};

static const struct kdec_control kdec_h264_controls[] = {
	{ V4L2_CID_STATELESS_H264_SPS, KDEC_CONTROL_JOB,
	  .check = kdec_check_h264_sps },
	{ V4L2_CID_STATELESS_H264_PPS, KDEC_CONTROL_JOB },
	{ V4L2_CID_STATELESS_H264_SCALING_MATRIX, KDEC_CONTROL_JOB },
	{ V4L2_CID_STATELESS_H264_DECODE_PARAMS, KDEC_CONTROL_JOB },
	{ V4L2_CID_STATELESS_H264_DECODE_MODE, KDEC_CONTROL_FIXED,
	  V4L2_STATELESS_H264_DECODE_MODE_FRAME_BASED },
	{ V4L2_CID_STATELESS_H264_START_CODE, KDEC_CONTROL_FIXED,
	  V4L2_STATELESS_H264_START_CODE_ANNEX_B },
	{ V4L2_CID_MPEG_VIDEO_H264_PROFILE, KDEC_CONTROL_PROFILE,
	  V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_HIGH },
	{ V4L2_CID_MPEG_VIDEO_H264_LEVEL, KDEC_CONTROL_LEVEL,
	  V4L2_MPEG_VIDEO_H264_LEVEL_6_2 },
};

static const struct kdec_control kdec_vp8_controls[] = {
	{ V4L2_CID_STATELESS_VP8_FRAME, KDEC_CONTROL_JOB },
	{ V4L2_CID_MPEG_VIDEO_VP8_PROFILE, KDEC_CONTROL_PROFILE,
	  V4L2_MPEG_VIDEO_VP8_PROFILE_3 },
};

static const struct kdec_control kdec_vp9_controls[] = {
	{ V4L2_CID_STATELESS_VP9_FRAME, KDEC_CONTROL_JOB,
	  .check = kdec_check_vp9_frame },
	{ V4L2_CID_STATELESS_VP9_COMPRESSED_HDR, KDEC_CONTROL_JOB },
	{ V4L2_CID_MPEG_VIDEO_VP9_PROFILE, KDEC_CONTROL_PROFILE,
	  V4L2_MPEG_VIDEO_VP9_PROFILE_3 },
	{ V4L2_CID_MPEG_VIDEO_VP9_LEVEL, KDEC_CONTROL_LEVEL,
	  V4L2_MPEG_VIDEO_VP9_LEVEL_6_2 },
};

static const struct kdec_codec kdec_codecs[] = {
	{
		.fourcc = V4L2_PIX_FMT_MPEG2_SLICE,
		.picture = V4L2_CID_STATELESS_MPEG2_PICTURE,
		.controls = kdec_mpeg2_controls,
		.num_controls = ARRAY_SIZE(kdec_mpeg2_controls),
		.references = kdec_mpeg2_references,
	},
	{
		.fourcc = V4L2_PIX_FMT_H264_SLICE,
		.picture = V4L2_CID_STATELESS_H264_DECODE_PARAMS,
		.controls = kdec_h264_controls,
		.num_controls = ARRAY_SIZE(kdec_h264_controls),
		.references = kdec_h264_references,
	},
	{
		.fourcc = V4L2_PIX_FMT_VP8_FRAME,
		.picture = V4L2_CID_STATELESS_VP8_FRAME,
		.controls = kdec_vp8_controls,
		.num_controls = ARRAY_SIZE(kdec_vp8_controls),
		.references = kdec_vp8_references,
	},
	{
		.fourcc = V4L2_PIX_FMT_VP9_FRAME,
		.picture = V4L2_CID_STATELESS_VP9_FRAME,
		.controls = kdec_vp9_controls,
		.num_controls = ARRAY_SIZE(kdec_vp9_controls),
		.references = kdec_vp9_references,
	},
};

/**
 * kdec_find_codec() - finds a codec by its fourcc
 * @fourcc: of the OUTPUT queue
 *
 * Return: the codec, or NULL when the driver does not know it.
 */
const struct kdec_codec *kdec_find_codec(u32 fourcc)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kdec_codecs); i++) {
		if (kdec_codecs[i].fourcc == fourcc)
			return &kdec_codecs[i];
	}
	return NULL;
}

static int kdec_try_ctrl(struct v4l2_ctrl *ctrl)
{
	const struct kdec_control *control = ctrl->priv;

	if (!control || !control->check)
		return 0;
	return control->check(ctrl->p_new.p_const);
}

/* Values are read when a job starts; there is nothing to do before. */
static int kdec_s_ctrl(struct v4l2_ctrl *ctrl)
{
	return 0;
}

static const struct v4l2_ctrl_ops kdec_ctrl_ops = {
	.try_ctrl	= kdec_try_ctrl,
	.s_ctrl		= kdec_s_ctrl,
};

static void kdec_add_control(struct kdec_context *ctx,
			     const struct kdec_control *control,
			     u64 profiles, u32 max_level)
{
	struct v4l2_ctrl_config cfg = {
		.ops = &kdec_ctrl_ops,
		.id = control->id,
	};

	switch (control->kind) {
	case KDEC_CONTROL_JOB:
		break;
	case KDEC_CONTROL_FIXED:
		cfg.min = control->max;
		cfg.max = control->max;
		cfg.def = control->max;
		break;
	case KDEC_CONTROL_PROFILE:
		profiles &= GENMASK_ULL(control->max, 0);
		if (!profiles)
			return;
		cfg.min = __ffs64(profiles);
		cfg.max = fls64(profiles) - 1;
		cfg.def = cfg.min;
		cfg.menu_skip_mask = ~profiles & GENMASK_ULL(cfg.max, 0);
		break;
	case KDEC_CONTROL_LEVEL:
		if (!max_level)
			return;
		cfg.max = min(max_level, control->max);
		cfg.def = cfg.max;
		break;
	}
	/* The handler keeps the first error. */
	v4l2_ctrl_new_custom(&ctx->hdl, &cfg, (void *)control);
}

/**
 * kdec_controls_init() - makes the controls of all advertised codecs
 * @ctx: the context; its formats are set
 *
 * Return: 0, or what went wrong; then the handler is free again.
 */
int kdec_controls_init(struct kdec_context *ctx)
{
	const struct v4l2_ctrl_config timeout = {
		.ops = &kdec_ctrl_ops,
		.id = KDEC_CID_TIMEOUT,
		.name = "Decode Timeout",
		.type = V4L2_CTRL_TYPE_INTEGER,
		.min = KDEC_TIMEOUT_MIN,
		.max = KDEC_TIMEOUT_MAX,
		.step = 1,
		.def = clamp_t(u32, kdec_timeout, KDEC_TIMEOUT_MIN,
			       KDEC_TIMEOUT_MAX),
	};
	unsigned int i, j;
	int ret;

	v4l2_ctrl_handler_init(&ctx->hdl, 32);
	ctx->timeout = v4l2_ctrl_new_custom(&ctx->hdl, &timeout, NULL);

	for (i = 0; i < ARRAY_SIZE(kdec_codecs); i++) {
		const struct kdec_codec *codec = &kdec_codecs[i];
		bool advertised = false;
		u64 profiles = 0;
		u32 level = 0;

		for (j = 0; j < ctx->formats->count; j++) {
			const struct kinora_dec_format *row;

			row = &ctx->formats->rows[j];
			if (row->coded != codec->fourcc)
				continue;
			advertised = true;
			profiles |= row->profiles;
			level = max(level, row->max_level);
		}
		if (!advertised)
			continue;
		for (j = 0; j < codec->num_controls; j++)
			kdec_add_control(ctx, &codec->controls[j], profiles,
					 level);
	}

	ret = ctx->hdl.error;
	if (!ret)
		ret = v4l2_ctrl_handler_setup(&ctx->hdl);
	if (ret)
		v4l2_ctrl_handler_free(&ctx->hdl);
	return ret;
}
