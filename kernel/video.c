// SPDX-License-Identifier: GPL-2.0-only
/*
 * The video node: formats, and the ioctls of both queues.
 *
 * The node has no lock of its own.  Everything here that touches the state of
 * a file takes the lock of that file's context, so that clients do not wait
 * for each other.
 */
#include <linux/poll.h>
#include <linux/sizes.h>
#include <media/v4l2-common.h>
#include <media/v4l2-event.h>
#include <media/v4l2-ioctl.h>

#include "kdec.h"

/* Clients ask for more when the largest access unit needs it. */
#define KDEC_CODED_MIN		SZ_64K

/*
 * What is added to the offset of a CAPTURE buffer for mmap(), because both
 * queues number their buffers from 0.  vb2 leaves this bit free.
 */
#define KDEC_CAPTURE_OFFSET	BIT(30)

static const struct kdec_raw kdec_raws[] = {
	{ .fourcc = V4L2_PIX_FMT_NV12, .bytes = 1 },
};

/**
 * kdec_find_raw() - finds a CAPTURE format by its fourcc
 * @fourcc: of the CAPTURE queue
 *
 * Return: the format, or NULL when the driver does not know it.
 */
const struct kdec_raw *kdec_find_raw(u32 fourcc)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kdec_raws); i++) {
		if (kdec_raws[i].fourcc == fourcc)
			return &kdec_raws[i];
	}
	return NULL;
}

static void kdec_formats_release(struct kref *ref)
{
	kfree(container_of(ref, struct kdec_formats, ref));
}

/**
 * kdec_formats_put() - gives a reference back
 * @formats: the formats, or NULL
 */
void kdec_formats_put(struct kdec_formats *formats)
{
	if (formats)
		kref_put(&formats->ref, kdec_formats_release);
}

/* The first row with this coded format, and with this raw one if not 0. */
static const struct kinora_dec_format *
kdec_find_row(struct kdec_context *ctx, u32 coded, u32 raw)
{
	unsigned int i;

	for (i = 0; i < ctx->formats->count; i++) {
		const struct kinora_dec_format *row = &ctx->formats->rows[i];

		if (row->coded == coded && (!raw || row->raw == raw))
			return row;
	}
	return NULL;
}

static void kdec_try_out(struct kdec_context *ctx,
			 struct v4l2_pix_format_mplane *pix)
{
	const struct kinora_dec_format *row;
	struct v4l2_frmsize_stepwise sizes;
	u32 sizeimage = pix->num_planes ? pix->plane_fmt[0].sizeimage : 0;

	row = kdec_find_row(ctx, pix->pixelformat, 0);
	if (!row)
		row = &ctx->formats->rows[0];

	sizes.min_width = row->min_width;
	sizes.max_width = row->max_width;
	sizes.step_width = row->step_width;
	sizes.min_height = row->min_height;
	sizes.max_height = row->max_height;
	sizes.step_height = row->step_height;
	v4l2_apply_frmsize_constraints(&pix->width, &pix->height, &sizes);

	if (!sizeimage)
		sizeimage = pix->width * pix->height * 3 / 2;

	pix->pixelformat = row->coded;
	pix->field = V4L2_FIELD_NONE;
	pix->flags = 0;
	pix->num_planes = 1;
	memset(pix->plane_fmt, 0, sizeof(pix->plane_fmt));
	pix->plane_fmt[0].sizeimage = clamp_t(u32, sizeimage, KDEC_CODED_MIN,
					      KDEC_CODED_MAX);
	memset(pix->reserved, 0, sizeof(pix->reserved));

	/* The client knows the colours from the bitstream; nobody else does. */
	if (pix->colorspace == V4L2_COLORSPACE_DEFAULT ||
	    !v4l2_is_colorspace_valid(pix->colorspace))
		pix->colorspace = V4L2_COLORSPACE_REC709;
	if (!v4l2_is_xfer_func_valid(pix->xfer_func))
		pix->xfer_func = V4L2_XFER_FUNC_DEFAULT;
	if (!v4l2_is_ycbcr_enc_valid(pix->ycbcr_enc))
		pix->ycbcr_enc = V4L2_YCBCR_ENC_DEFAULT;
	if (!v4l2_is_quant_valid(pix->quantization))
		pix->quantization = V4L2_QUANTIZATION_DEFAULT;
}

static u32 kdec_stride(const struct kdec_raw *raw, u32 width)
{
	return ALIGN(width * raw->bytes, 64);
}

static u32 kdec_sizeimage(const struct kdec_raw *raw, u32 width, u32 height)
{
	return kdec_stride(raw, width) * height * 3 / 2;
}

/**
 * kdec_picture_max() - gives the size of the largest picture
 * @ctx: the context
 *
 * Return: the bytes of the largest picture that was advertised to it.
 */
u32 kdec_picture_max(const struct kdec_context *ctx)
{
	u32 max = 0;
	unsigned int i;

	for (i = 0; i < ctx->formats->count; i++) {
		const struct kinora_dec_format *row = &ctx->formats->rows[i];
		const struct kdec_raw *raw = kdec_find_raw(row->raw);

		max = max(max, kdec_sizeimage(raw, ALIGN(row->max_width, 2),
					      ALIGN(row->max_height, 2)));
	}
	return max;
}

/*
 * The CAPTURE format follows from the OUTPUT format: all that can be chosen
 * is the raw format.  The height is even because clients look for the chroma
 * plane right behind "height" lines.
 */
static void kdec_try_cap(struct kdec_context *ctx,
			 struct v4l2_pix_format_mplane *pix)
{
	const struct v4l2_pix_format_mplane *out = &ctx->out_format;
	const struct kinora_dec_format *row;
	const struct kdec_raw *raw;

	row = kdec_find_row(ctx, out->pixelformat, pix->pixelformat);
	if (!row)
		row = kdec_find_row(ctx, out->pixelformat, 0);
	raw = kdec_find_raw(row->raw);

	memset(pix, 0, sizeof(*pix));
	pix->width = ALIGN(out->width, 2);
	pix->height = ALIGN(out->height, 2);
	pix->pixelformat = row->raw;
	pix->field = V4L2_FIELD_NONE;
	pix->colorspace = out->colorspace;
	pix->xfer_func = out->xfer_func;
	pix->ycbcr_enc = out->ycbcr_enc;
	pix->quantization = out->quantization;
	pix->num_planes = 1;
	pix->plane_fmt[0].bytesperline = kdec_stride(raw, pix->width);
	pix->plane_fmt[0].sizeimage = kdec_sizeimage(raw, pix->width,
						     pix->height);
}

static void kdec_set_cap(struct kdec_context *ctx,
			 const struct v4l2_pix_format_mplane *pix)
{
	ctx->cap_format = *pix;
	ctx->row = kdec_find_row(ctx, ctx->out_format.pixelformat,
				 pix->pixelformat);
}

static void kdec_set_out(struct kdec_context *ctx,
			 const struct v4l2_pix_format_mplane *pix)
{
	struct v4l2_pix_format_mplane cap = {
		.pixelformat = ctx->cap_format.pixelformat,
	};

	ctx->out_format = *pix;
	ctx->codec = kdec_find_codec(pix->pixelformat);
	kdec_try_cap(ctx, &cap);
	kdec_set_cap(ctx, &cap);
}

/**
 * kdec_init_formats() - sets the formats of a new context
 * @ctx: the context
 */
void kdec_init_formats(struct kdec_context *ctx)
{
	struct v4l2_pix_format_mplane out = {
		.pixelformat = ctx->formats->rows[0].coded,
		.width = 640,
		.height = 480,
	};

	kdec_try_out(ctx, &out);
	kdec_set_out(ctx, &out);
}

static int kdec_querycap(struct file *file, void *priv,
			 struct v4l2_capability *cap)
{
	strscpy(cap->driver, KDEC_NAME, sizeof(cap->driver));
	strscpy(cap->card, "Kinora software decoder", sizeof(cap->card));
	return 0;
}

static int kdec_enum_fmt_out(struct file *file, void *priv,
			     struct v4l2_fmtdesc *f)
{
	struct kdec_context *ctx = kdec_file_context(file);
	unsigned int i, n = 0;

	for (i = 0; i < ctx->formats->count; i++) {
		const struct kinora_dec_format *row = &ctx->formats->rows[i];

		/* A coded format counts once, at its first row. */
		if (kdec_find_row(ctx, row->coded, 0) != row)
			continue;
		if (n++ == f->index) {
			f->pixelformat = row->coded;
			return 0;
		}
	}
	return -EINVAL;
}

static int kdec_enum_fmt_cap(struct file *file, void *priv,
			     struct v4l2_fmtdesc *f)
{
	struct kdec_context *ctx = kdec_file_context(file);
	unsigned int i, n = 0;
	u32 coded;

	mutex_lock(&ctx->lock);
	coded = ctx->out_format.pixelformat;
	mutex_unlock(&ctx->lock);

	for (i = 0; i < ctx->formats->count; i++) {
		if (ctx->formats->rows[i].coded != coded)
			continue;
		if (n++ == f->index) {
			f->pixelformat = ctx->formats->rows[i].raw;
			return 0;
		}
	}
	return -EINVAL;
}

static int kdec_enum_framesizes(struct file *file, void *priv,
				struct v4l2_frmsizeenum *sizes)
{
	struct kdec_context *ctx = kdec_file_context(file);
	const struct kinora_dec_format *row;

	row = kdec_find_row(ctx, sizes->pixel_format, 0);
	if (!row || sizes->index)
		return -EINVAL;

	sizes->type = V4L2_FRMSIZE_TYPE_STEPWISE;
	sizes->stepwise.min_width = row->min_width;
	sizes->stepwise.max_width = row->max_width;
	sizes->stepwise.step_width = row->step_width;
	sizes->stepwise.min_height = row->min_height;
	sizes->stepwise.max_height = row->max_height;
	sizes->stepwise.step_height = row->step_height;
	return 0;
}

static int kdec_g_fmt_out(struct file *file, void *priv, struct v4l2_format *f)
{
	struct kdec_context *ctx = kdec_file_context(file);

	mutex_lock(&ctx->lock);
	f->fmt.pix_mp = ctx->out_format;
	mutex_unlock(&ctx->lock);
	return 0;
}

static int kdec_g_fmt_cap(struct file *file, void *priv, struct v4l2_format *f)
{
	struct kdec_context *ctx = kdec_file_context(file);

	mutex_lock(&ctx->lock);
	f->fmt.pix_mp = ctx->cap_format;
	mutex_unlock(&ctx->lock);
	return 0;
}

static int kdec_try_fmt_out(struct file *file, void *priv,
			    struct v4l2_format *f)
{
	kdec_try_out(kdec_file_context(file), &f->fmt.pix_mp);
	return 0;
}

static int kdec_try_fmt_cap(struct file *file, void *priv,
			    struct v4l2_format *f)
{
	struct kdec_context *ctx = kdec_file_context(file);

	mutex_lock(&ctx->lock);
	kdec_try_cap(ctx, &f->fmt.pix_mp);
	mutex_unlock(&ctx->lock);
	return 0;
}

/*
 * The size may change at any time as long as the codec stays: that is how a
 * client follows a change of resolution.  It need not free its CAPTURE buffers
 * for that: those of the old size may hold pictures that are referred to.  One
 * that is too small for a new picture is refused when it is queued, or makes
 * the job fail if it was queued already.
 */
static int kdec_s_fmt_out(struct file *file, void *priv, struct v4l2_format *f)
{
	struct kdec_context *ctx = kdec_file_context(file);
	struct v4l2_pix_format_mplane *pix = &f->fmt.pix_mp;
	int ret = 0;

	mutex_lock(&ctx->lock);
	kdec_try_out(ctx, pix);
	if (pix->pixelformat != ctx->out_format.pixelformat) {
		if (vb2_is_busy(&ctx->out) || vb2_is_busy(&ctx->cap))
			ret = -EBUSY;
		else
			kdec_session_end(ctx);
	}
	if (!ret)
		kdec_set_out(ctx, pix);
	mutex_unlock(&ctx->lock);
	return ret;
}

static int kdec_s_fmt_cap(struct file *file, void *priv, struct v4l2_format *f)
{
	struct kdec_context *ctx = kdec_file_context(file);
	struct v4l2_pix_format_mplane *pix = &f->fmt.pix_mp;
	int ret = 0;

	mutex_lock(&ctx->lock);
	kdec_try_cap(ctx, pix);
	if (pix->pixelformat != ctx->cap_format.pixelformat &&
	    vb2_is_busy(&ctx->cap))
		ret = -EBUSY;
	else
		kdec_set_cap(ctx, pix);
	mutex_unlock(&ctx->lock);
	return ret;
}

static struct vb2_queue *kdec_queue(struct kdec_context *ctx, u32 type)
{
	return V4L2_TYPE_IS_OUTPUT(type) ? &ctx->out : &ctx->cap;
}

static void kdec_shift_offset(struct vb2_queue *q, struct v4l2_buffer *b)
{
	if (!q->is_output && b->memory == V4L2_MEMORY_MMAP && b->length)
		b->m.planes[0].m.mem_offset += KDEC_CAPTURE_OFFSET;
}

/* vb2 checks the type of everything that is passed to it. */
static int kdec_reqbufs(struct file *file, void *priv,
			struct v4l2_requestbuffers *rb)
{
	struct kdec_context *ctx = kdec_file_context(file);
	struct vb2_queue *q = kdec_queue(ctx, rb->type);
	int ret;

	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	/*
	 * vb2 cancels what is queued with its mmap_lock held.  Requests that
	 * end then take the lock of their controls, under which S_EXT_CTRLS
	 * reads user memory, and mmap() takes mmap_lock while that is locked.
	 * So nothing is left to be cancelled there.
	 */
	if (!vb2_is_streaming(q) &&
	    !vb2_verify_memory_type(q, rb->memory, rb->type))
		vb2_streamoff(q, rb->type);
	ret = vb2_reqbufs(q, rb);
	mutex_unlock(&ctx->lock);
	return ret;
}

static int kdec_create_bufs(struct file *file, void *priv,
			    struct v4l2_create_buffers *create)
{
	struct kdec_context *ctx = kdec_file_context(file);
	int ret;

	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	ret = vb2_create_bufs(kdec_queue(ctx, create->format.type), create);
	mutex_unlock(&ctx->lock);
	return ret;
}

#ifdef KDEC_HAS_REMOVE_BUFS
static int kdec_remove_bufs(struct file *file, void *priv,
			    struct v4l2_remove_buffers *remove)
{
	struct kdec_context *ctx = kdec_file_context(file);
	struct vb2_queue *q = kdec_queue(ctx, remove->type);
	int ret;

	if (q->type != remove->type)
		return -EINVAL;
	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	ret = vb2_core_remove_bufs(q, remove->index, remove->count);
	mutex_unlock(&ctx->lock);
	return ret;
}
#endif

static int kdec_querybuf(struct file *file, void *priv, struct v4l2_buffer *b)
{
	struct kdec_context *ctx = kdec_file_context(file);
	struct vb2_queue *q = kdec_queue(ctx, b->type);
	int ret;

	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	ret = vb2_querybuf(q, b);
	if (!ret)
		kdec_shift_offset(q, b);
	mutex_unlock(&ctx->lock);
	return ret;
}

static int kdec_prepare_buf(struct file *file, void *priv,
			    struct v4l2_buffer *b)
{
	struct kdec_context *ctx = kdec_file_context(file);
	struct vb2_queue *q = kdec_queue(ctx, b->type);
	int ret;

	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	ret = vb2_prepare_buf(q, &ctx->kdev->mdev, b);
	if (!ret)
		kdec_shift_offset(q, b);
	mutex_unlock(&ctx->lock);
	return ret;
}

static int kdec_qbuf(struct file *file, void *priv, struct v4l2_buffer *b)
{
	struct kdec_context *ctx = kdec_file_context(file);
	struct vb2_queue *q = kdec_queue(ctx, b->type);
	int ret;

	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	/* Those in requests are refused with their request. */
	if (q->is_output && !(b->flags & V4L2_BUF_FLAG_REQUEST_FD) &&
	    !kdec_can_decode(ctx))
		ret = -ENODEV;
	else
		ret = vb2_qbuf(q, &ctx->kdev->mdev, b);
	if (!ret) {
		kdec_shift_offset(q, b);
		kdec_schedule(ctx);
	}
	mutex_unlock(&ctx->lock);
	return ret;
}

/* While it waits, vb2 gives back the lock of the queue, which is ours. */
static int kdec_dqbuf(struct file *file, void *priv, struct v4l2_buffer *b)
{
	struct kdec_context *ctx = kdec_file_context(file);
	struct vb2_queue *q = kdec_queue(ctx, b->type);
	int ret;

	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	ret = vb2_dqbuf(q, b, file->f_flags & O_NONBLOCK);
	if (!ret)
		kdec_shift_offset(q, b);
	mutex_unlock(&ctx->lock);
	return ret;
}

static int kdec_expbuf(struct file *file, void *priv,
		       struct v4l2_exportbuffer *eb)
{
	struct kdec_context *ctx = kdec_file_context(file);
	int ret;

	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	ret = vb2_expbuf(kdec_queue(ctx, eb->type), eb);
	mutex_unlock(&ctx->lock);
	return ret;
}

static int kdec_streamon(struct file *file, void *priv, enum v4l2_buf_type type)
{
	struct kdec_context *ctx = kdec_file_context(file);
	int ret;

	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	ret = vb2_streamon(kdec_queue(ctx, type), type);
	if (!ret)
		kdec_schedule(ctx);
	mutex_unlock(&ctx->lock);
	return ret;
}

static int kdec_streamoff(struct file *file, void *priv,
			  enum v4l2_buf_type type)
{
	struct kdec_context *ctx = kdec_file_context(file);
	int ret;

	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	ret = vb2_streamoff(kdec_queue(ctx, type), type);
	mutex_unlock(&ctx->lock);
	return ret;
}

static int kdec_try_decoder_cmd(struct file *file, void *priv,
				struct v4l2_decoder_cmd *cmd)
{
	if (cmd->cmd != V4L2_DEC_CMD_FLUSH)
		return -EINVAL;
	cmd->flags = 0;
	return 0;
}

static int kdec_decoder_cmd(struct file *file, void *priv,
			    struct v4l2_decoder_cmd *cmd)
{
	struct kdec_context *ctx = kdec_file_context(file);
	int ret;

	ret = kdec_try_decoder_cmd(file, priv, cmd);
	if (ret)
		return ret;
	if (mutex_lock_interruptible(&ctx->lock))
		return -ERESTARTSYS;
	kdec_flush(ctx);
	mutex_unlock(&ctx->lock);
	return 0;
}

const struct v4l2_ioctl_ops kdec_ioctl_ops = {
	.vidioc_querycap		= kdec_querycap,

	.vidioc_enum_fmt_vid_out	= kdec_enum_fmt_out,
	.vidioc_enum_fmt_vid_cap	= kdec_enum_fmt_cap,
	.vidioc_enum_framesizes		= kdec_enum_framesizes,
	.vidioc_g_fmt_vid_out_mplane	= kdec_g_fmt_out,
	.vidioc_g_fmt_vid_cap_mplane	= kdec_g_fmt_cap,
	.vidioc_try_fmt_vid_out_mplane	= kdec_try_fmt_out,
	.vidioc_try_fmt_vid_cap_mplane	= kdec_try_fmt_cap,
	.vidioc_s_fmt_vid_out_mplane	= kdec_s_fmt_out,
	.vidioc_s_fmt_vid_cap_mplane	= kdec_s_fmt_cap,

	.vidioc_reqbufs			= kdec_reqbufs,
	.vidioc_create_bufs		= kdec_create_bufs,
	KDEC_REMOVE_BUFS_OP
	.vidioc_querybuf		= kdec_querybuf,
	.vidioc_prepare_buf		= kdec_prepare_buf,
	.vidioc_qbuf			= kdec_qbuf,
	.vidioc_dqbuf			= kdec_dqbuf,
	.vidioc_expbuf			= kdec_expbuf,
	.vidioc_streamon		= kdec_streamon,
	.vidioc_streamoff		= kdec_streamoff,

	.vidioc_try_decoder_cmd		= kdec_try_decoder_cmd,
	.vidioc_decoder_cmd		= kdec_decoder_cmd,

	.vidioc_subscribe_event		= v4l2_ctrl_subscribe_event,
	.vidioc_unsubscribe_event	= v4l2_event_unsubscribe,
};

static bool kdec_may_finish(struct vb2_queue *q)
{
	return vb2_is_streaming(q) && !q->error && !list_empty(&q->queued_list);
}

static bool kdec_has_done(struct vb2_queue *q)
{
	unsigned long flags;
	bool done;

	spin_lock_irqsave(&q->done_lock, flags);
	done = !list_empty(&q->done_list);
	spin_unlock_irqrestore(&q->done_lock, flags);
	return done;
}

/**
 * kdec_poll() - waits for buffers of both queues and for events
 * @file: of the video node
 * @wait: where to register
 *
 * Return: which of them are there; EPOLLERR when no buffer of either queue
 * can become ready.
 */
__poll_t kdec_poll(struct file *file, poll_table *wait)
{
	struct kdec_context *ctx = kdec_file_context(file);
	__poll_t wanted = poll_requested_events(wait);
	__poll_t ready = 0;

	poll_wait(file, &ctx->out.done_wq, wait);
	poll_wait(file, &ctx->cap.done_wq, wait);
	poll_wait(file, &ctx->fh.wait, wait);

	if (v4l2_event_pending(&ctx->fh))
		ready |= EPOLLPRI;
	if (!(wanted & (EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM)))
		return ready;

	mutex_lock(&ctx->lock);
	if (!kdec_may_finish(&ctx->out) && !kdec_may_finish(&ctx->cap))
		ready |= EPOLLERR;
	if (kdec_has_done(&ctx->out))
		ready |= EPOLLOUT | EPOLLWRNORM;
	if (kdec_has_done(&ctx->cap))
		ready |= EPOLLIN | EPOLLRDNORM;
	mutex_unlock(&ctx->lock);
	return ready;
}

/**
 * kdec_mmap() - maps a buffer of either queue
 * @file: of the video node
 * @vma: the mapping
 *
 * The lock of the context must not be taken here: the caller holds that of
 * the address space, which is taken the other way round on page faults.
 *
 * Return: 0 or an error of vb2_mmap().
 */
int kdec_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct kdec_context *ctx = kdec_file_context(file);
	unsigned long shift = KDEC_CAPTURE_OFFSET >> PAGE_SHIFT;

	if (vma->vm_pgoff < shift)
		return vb2_mmap(&ctx->out, vma);
	vma->vm_pgoff -= shift;
	return vb2_mmap(&ctx->cap, vma);
}
