// SPDX-License-Identifier: GPL-2.0-only
/*
 * The queues of a context and the jobs that take buffers from both.
 *
 * A buffer of the OUTPUT queue holds one access unit, which makes one job
 * together with a buffer of the CAPTURE queue.  A context has at most one job
 * in flight, and contexts know nothing of each other:
 *
 *     ready       --- kdec_job_take() and kdec_job_start() --->
 *     in flight   --- read by a worker, which takes its time --->
 *     delivered   --- kdec_job_finish() --->
 *     done, whether it was answered, cancelled or took too long
 *
 * A job that cannot be decoded, because there is no daemon, is done at once.
 *
 * Nothing ever waits for a job.  Whoever ends one takes it away from the
 * worker; an answer that comes later names a job that is no longer in flight.
 *
 * A job that sets V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF leaves its CAPTURE buffer
 * in @held, where the next job with the same timestamp finds it.
 *
 * Locks, in the order in which they are taken:
 *
 * 0. kdec_context.controls_lock: around all of S_EXT_CTRLS, by itself.
 * 1. req_queue_mutex of the media device: taken by the media and V4L2 cores
 *    around validating and queueing requests, starting and stopping streams
 *    and closing files.
 * 2. kdec_device.contexts_lock: the list of contexts.  The daemon's end walks
 *    it and takes the lock of each context.
 * 3. kdec_context.lock: the lock of both queues, all of a job and of a session.
 *    Never held while memory of a process is read or written, so nobody waits
 *    for a page fault of somebody else.
 * 4. the lock of the control handler, and the mmap_lock of each queue.
 * 5. kdec_daemon.lock, kdec_device.daemon_lock and the spinlocks of vb2 and
 *    media requests; none of the first two is taken inside the other.
 */
#include <linux/dma-buf.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sizes.h>

#include "kdec.h"

static int kdec_queue_setup(struct vb2_queue *q, unsigned int *num_buffers,
			    unsigned int *num_planes, unsigned int sizes[],
			    struct device *alloc_devs[])
{
	struct kdec_context *ctx = vb2_get_drv_priv(q);
	const struct v4l2_pix_format_mplane *pix;
	u32 size;

	pix = q->is_output ? &ctx->out_format : &ctx->cap_format;
	size = pix->plane_fmt[0].sizeimage;
	if (!*num_planes) {
		*num_planes = 1;
		sizes[0] = size;
		return 0;
	}
	if (*num_planes != 1 || sizes[0] < size)
		return -EINVAL;
	if (sizes[0] > (q->is_output ? KDEC_CODED_MAX : kdec_picture_max(ctx)))
		return -EINVAL;
	return 0;
}

static int kdec_buf_out_validate(struct vb2_buffer *vb)
{
	to_vb2_v4l2_buffer(vb)->field = V4L2_FIELD_NONE;
	return 0;
}

/* Called for new memory: a new MMAP buffer or a dma-buf that was not known. */
static int kdec_buf_init(struct vb2_buffer *vb)
{
	struct kdec_context *ctx = vb2_get_drv_priv(vb->vb2_queue);
	struct kdec_buffer *buf = kdec_from_vb2(vb);

	/*
	 * Only processors touch this memory, here and in the daemon.  Other
	 * devices map the dma-buf, and the caches are taken care of there.
	 */
	vb->skip_cache_sync_on_prepare = 1;
	vb->skip_cache_sync_on_finish = 1;

	if (vb->vb2_queue->is_output)
		return 0;
	buf->generation = ++ctx->generations;
	buf->session = 0;
	buf->job = 0;
	list_add_tail(&buf->entry, &ctx->buffers);
	return 0;
}

static void kdec_buf_cleanup(struct vb2_buffer *vb)
{
	if (!vb->vb2_queue->is_output)
		list_del(&kdec_from_vb2(vb)->entry);
}

static int kdec_buf_prepare(struct vb2_buffer *vb)
{
	struct kdec_context *ctx = vb2_get_drv_priv(vb->vb2_queue);
	u32 size = ctx->cap_format.plane_fmt[0].sizeimage;

	if (vb->vb2_queue->is_output)
		return 0;
	if (vb2_plane_size(vb, 0) < size)
		return -EINVAL;
	to_vb2_v4l2_buffer(vb)->field = V4L2_FIELD_NONE;
	return 0;
}

static void kdec_buf_queue(struct vb2_buffer *vb)
{
	struct kdec_context *ctx = vb2_get_drv_priv(vb->vb2_queue);
	struct kdec_buffer *buf = kdec_from_vb2(vb);

	list_add_tail(&buf->ready, vb->vb2_queue->is_output ?
		      &ctx->out_ready : &ctx->cap_ready);
}

/* For buffers in queued requests that the queue has never passed on. */
static void kdec_buf_request_complete(struct vb2_buffer *vb)
{
	struct kdec_context *ctx = vb2_get_drv_priv(vb->vb2_queue);

	v4l2_ctrl_request_complete(vb->req_obj.req, &ctx->hdl);
}

static int kdec_start_streaming(struct vb2_queue *q, unsigned int count)
{
	struct kdec_context *ctx = vb2_get_drv_priv(q);

	if (q->is_output)
		ctx->out_sequence = 0;
	else
		ctx->cap_sequence = 0;
	return 0;
}

/*
 * An OUTPUT buffer is done after the controls of its request: from then on the
 * request is complete and its owner may use it again.
 */
static void kdec_out_done(struct kdec_context *ctx, struct kdec_buffer *out,
			  enum vb2_buffer_state state)
{
	struct vb2_buffer *vb = &out->vbuf.vb2_buf;

	v4l2_ctrl_request_complete(vb->req_obj.req, &ctx->hdl);
	vb2_buffer_done(vb, state);
}

static void kdec_cap_done(struct kdec_buffer *cap)
{
	vb2_buffer_done(&cap->vbuf.vb2_buf, cap->failed ?
			VB2_BUF_STATE_ERROR : VB2_BUF_STATE_DONE);
}

/* Half a picture is no reference, and the buffer waits for another one. */
static void kdec_cap_requeue(struct kdec_context *ctx, struct kdec_buffer *cap)
{
	cap->vbuf.vb2_buf.copied_timestamp = 0;
	cap->job = 0;
	list_add(&cap->ready, &ctx->cap_ready);
}

static void kdec_job_forget(struct kdec_context *ctx)
{
	cancel_delayed_work(&ctx->watchdog);
	memset(&ctx->job, 0, sizeof(ctx->job));
	if (ctx->session)
		kdec_session_notify(ctx->session);
}

static void kdec_stop_out(struct kdec_context *ctx)
{
	struct kdec_buffer *buf, *next;

	if (ctx->job.out) {
		struct kdec_job job = ctx->job;

		kdec_job_forget(ctx);
		kdec_cap_requeue(ctx, job.cap);
		kdec_out_done(ctx, job.out, VB2_BUF_STATE_ERROR);
	}
	if (ctx->held) {
		kdec_cap_requeue(ctx, ctx->held);
		ctx->held = NULL;
	}
	list_for_each_entry_safe(buf, next, &ctx->out_ready, ready) {
		list_del(&buf->ready);
		kdec_out_done(ctx, buf, VB2_BUF_STATE_ERROR);
	}
}

static void kdec_stop_cap(struct kdec_context *ctx)
{
	struct kdec_buffer *buf, *next;

	if (ctx->job.out) {
		struct kdec_job job = ctx->job;

		/*
		 * The worker has seen this access unit; to send it again
		 * would decode it twice.
		 */
		kdec_job_forget(ctx);
		kdec_cap_requeue(ctx, job.cap);
		kdec_out_done(ctx, job.out, VB2_BUF_STATE_ERROR);
	}
	if (ctx->held) {
		kdec_cap_requeue(ctx, ctx->held);
		ctx->held = NULL;
	}
	list_for_each_entry_safe(buf, next, &ctx->cap_ready, ready) {
		list_del(&buf->ready);
		vb2_buffer_done(&buf->vbuf.vb2_buf, VB2_BUF_STATE_ERROR);
	}
}

static void kdec_stop_streaming(struct vb2_queue *q)
{
	struct kdec_context *ctx = vb2_get_drv_priv(q);

	lockdep_assert_held(&ctx->lock);
	if (q->is_output)
		kdec_stop_out(ctx);
	else
		kdec_stop_cap(ctx);
}

static const struct vb2_ops kdec_queue_ops = {
	.queue_setup		= kdec_queue_setup,
	.buf_out_validate	= kdec_buf_out_validate,
	.buf_init		= kdec_buf_init,
	.buf_cleanup		= kdec_buf_cleanup,
	.buf_prepare		= kdec_buf_prepare,
	.buf_queue		= kdec_buf_queue,
	.buf_request_complete	= kdec_buf_request_complete,
	.start_streaming	= kdec_start_streaming,
	.stop_streaming		= kdec_stop_streaming,
	KDEC_VB2_WAIT_OPS
};

static int kdec_queue_init(struct kdec_context *ctx, struct vb2_queue *q,
			   u32 type)
{
	q->type = type;
	q->io_modes = VB2_MMAP | VB2_DMABUF;
	q->dev = ctx->kdev->dev;
	q->lock = &ctx->lock;
	q->ops = &kdec_queue_ops;
	q->mem_ops = ctx->kdev->mem_ops;
	q->drv_priv = ctx;
	q->buf_struct_size = sizeof(struct kdec_buffer);
	q->timestamp_flags = V4L2_BUF_FLAG_TIMESTAMP_COPY;
	return vb2_queue_init(q);
}

/**
 * kdec_queues_init() - makes both queues of a new context
 * @ctx: the context
 *
 * Requests are supported but not required: v4l2-compliance streams without,
 * as it may on any decoder, and gets what its bytes deserve.
 *
 * Return: 0 or an error of vb2_queue_init().
 */
int kdec_queues_init(struct kdec_context *ctx)
{
	int ret;

	INIT_LIST_HEAD(&ctx->out_ready);
	INIT_LIST_HEAD(&ctx->cap_ready);
	INIT_LIST_HEAD(&ctx->buffers);

	ctx->out.supports_requests = 1;
	ctx->out.subsystem_flags = VB2_V4L2_FL_SUPPORTS_M2M_HOLD_CAPTURE_BUF;
	ret = kdec_queue_init(ctx, &ctx->out,
			      V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE);
	if (ret)
		return ret;
	return kdec_queue_init(ctx, &ctx->cap,
			       V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE);
}

/**
 * kdec_queues_release() - ends streaming and frees all buffers
 * @ctx: the context
 */
void kdec_queues_release(struct kdec_context *ctx)
{
	lockdep_assert_held(&ctx->lock);
	vb2_queue_release(&ctx->cap);
	vb2_queue_release(&ctx->out);
}

static void kdec_message_release(struct kref *ref)
{
	kvfree(container_of(ref, struct kdec_message, ref));
}

/**
 * kdec_message_put() - gives a reference back
 * @message: the message, or NULL
 */
void kdec_message_put(struct kdec_message *message)
{
	if (message)
		kref_put(&message->ref, kdec_message_release);
}

/* The context's message, with room for so many bytes and read by nobody. */
static struct kdec_message *kdec_message_get(struct kdec_context *ctx,
					     size_t size)
{
	struct kdec_message *message = ctx->message;

	if (message && message->capacity >= size &&
	    kref_read(&message->ref) == 1)
		return message;

	size = ALIGN(size, SZ_64K);
	message = kvmalloc(struct_size(message, bytes, size), GFP_KERNEL);
	if (!message)
		return NULL;
	kref_init(&message->ref);
	message->capacity = size;
	message->size = 0;
	kdec_message_put(ctx->message);
	ctx->message = message;
	return message;
}

static void kdec_resolve(struct kdec_context *ctx, u64 timestamp,
			 struct kinora_dec_reference *reference)
{
	struct kdec_buffer *buf, *found = NULL;

	/*
	 * Clients start to count again after a seek.  If several buffers have
	 * this timestamp the one with the newest picture is meant.
	 */
	list_for_each_entry(buf, &ctx->buffers, entry) {
		struct vb2_buffer *vb = &buf->vbuf.vb2_buf;

		if (!vb->copied_timestamp || vb->timestamp != timestamp)
			continue;
		if (!found || buf->session > found->session ||
		    (buf->session == found->session && buf->job > found->job))
			found = buf;
	}

	reference->timestamp = timestamp;
	if (!found)
		return;
	reference->index = found->vbuf.vb2_buf.index;
	reference->generation = found->generation;
	if (found->session == ctx->session->number)
		reference->job = found->job;
}

static void kdec_resolve_all(struct kdec_context *ctx,
			     struct kinora_dec_job *header)
{
	struct kdec_timestamps ts = {};
	struct v4l2_ctrl *ctrl;
	unsigned int i;

	ctrl = v4l2_ctrl_find(&ctx->hdl, ctx->codec->picture);
	v4l2_ctrl_lock(ctrl);
	ctx->codec->references(ctrl->p_cur.p_const, &ts);
	v4l2_ctrl_unlock(ctrl);

	for (i = 0; i < KINORA_DEC_MAX_REFERENCES; i++) {
		header->references[i].index = KINORA_DEC_NO_BUFFER;
		if (!(ts.used & BIT(i)))
			continue;
		kdec_resolve(ctx, ts.timestamp[i], &header->references[i]);
		header->references_used = i + 1;
	}
}

/*
 * Copies the values of all controls behind the header.  A client may set
 * controls outside of requests at any time, so the values are copied now, and
 * it is the current ones that count: a request holds only what has changed.
 */
static unsigned int kdec_copy_controls(struct kdec_context *ctx, u8 *to,
				       size_t *offset)
{
	const struct kdec_codec *codec = ctx->codec;
	unsigned int i, n = 0;

	for (i = 0; i < codec->num_controls; i++) {
		struct kinora_dec_control head = { .id = codec->controls[i].id };
		struct v4l2_ctrl *ctrl;

		if (codec->controls[i].kind != KDEC_CONTROL_JOB)
			continue;
		ctrl = v4l2_ctrl_find(&ctx->hdl, head.id);
		v4l2_ctrl_lock(ctrl);
		head.elems = ctrl->elems;
		head.size = ctrl->elems * ctrl->elem_size;
		memcpy(to + *offset, &head, sizeof(head));
		*offset += sizeof(head);
		memcpy(to + *offset, ctrl->p_cur.p_const, head.size);
		v4l2_ctrl_unlock(ctrl);
		memset(to + *offset + head.size, 0,
		       ALIGN(head.size, 8) - head.size);
		*offset += ALIGN(head.size, 8);
		n++;
	}
	return n;
}

/* Room for all controls, even if dynamic arrays are as long as they can be. */
static size_t kdec_controls_size(struct kdec_context *ctx)
{
	const struct kdec_codec *codec = ctx->codec;
	size_t size = 0;
	unsigned int i, j;

	for (i = 0; i < codec->num_controls; i++) {
		struct v4l2_ctrl *ctrl;
		size_t elems = 1;

		if (codec->controls[i].kind != KDEC_CONTROL_JOB)
			continue;
		ctrl = v4l2_ctrl_find(&ctx->hdl, codec->controls[i].id);
		for (j = 0; j < ctrl->nr_of_dims; j++)
			elems *= ctrl->dims[j];
		size += sizeof(struct kinora_dec_control) +
			ALIGN(elems * ctrl->elem_size, 8);
	}
	return size;
}

static int kdec_compose(struct kdec_context *ctx)
{
	const struct v4l2_pix_format_mplane *pix = &ctx->cap_format;
	struct vb2_buffer *out = &ctx->job.out->vbuf.vb2_buf;
	struct vb2_buffer *cap = &ctx->job.cap->vbuf.vb2_buf;
	u32 begin = out->planes[0].data_offset;
	u32 end = vb2_get_plane_payload(out, 0);
	struct kinora_dec_job *header;
	struct kdec_message *message;
	const u8 *coded;
	size_t offset = sizeof(*header);

	coded = vb2_plane_vaddr(out, 0);
	if (!coded)
		return -ENOMEM;
	if (end > vb2_plane_size(out, 0) || begin > end)
		return -EINVAL;
	if (vb2_plane_size(cap, 0) < pix->plane_fmt[0].sizeimage)
		return -EINVAL;

	message = kdec_message_get(ctx, sizeof(*header) +
				   kdec_controls_size(ctx) + end - begin);
	if (!message)
		return -ENOMEM;

	header = (struct kinora_dec_job *)message->bytes;
	memset(header, 0, sizeof(*header));
	header->abi = KINORA_DEC_ABI;
	header->session = ctx->session->number;
	header->job = ctx->job.number;
	header->timestamp = out->timestamp;
	header->coded = ctx->codec->fourcc;
	if (ctx->job.out->vbuf.flags & V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF)
		header->flags |= KINORA_DEC_JOB_HOLD;
	if (ctx->job.continues)
		header->flags |= KINORA_DEC_JOB_CONTINUES;
	header->raw = pix->pixelformat;
	header->width = pix->width;
	header->height = pix->height;
	header->stride = pix->plane_fmt[0].bytesperline;
	header->capture_size = vb2_plane_size(cap, 0);
	header->capture_index = cap->index;
	header->capture_generation = ctx->job.cap->generation;
	header->oldest_generation =
		list_first_entry(&ctx->buffers, struct kdec_buffer,
				 entry)->generation;
	kdec_resolve_all(ctx, header);

	header->controls = kdec_copy_controls(ctx, message->bytes, &offset);
	header->data_offset = offset;
	header->data_size = end - begin;
	memcpy(message->bytes + offset, coded + begin, end - begin);
	header->size = offset + header->data_size;
	message->size = header->size;
	return 0;
}

static void kdec_copy_metadata(struct kdec_context *ctx)
{
	const u32 mask = V4L2_BUF_FLAG_TIMECODE | V4L2_BUF_FLAG_TSTAMP_SRC_MASK;
	struct vb2_v4l2_buffer *out = &ctx->job.out->vbuf;
	struct vb2_v4l2_buffer *cap = &ctx->job.cap->vbuf;
	u32 size = ctx->cap_format.plane_fmt[0].sizeimage;

	/* The format may have changed since the buffer was queued. */
	vb2_set_plane_payload(&cap->vb2_buf, 0,
			      min_t(u32, size, vb2_plane_size(&cap->vb2_buf, 0)));
	out->sequence = ctx->out_sequence++;
	if (!ctx->job.continues)
		cap->sequence = ctx->cap_sequence++;
	cap->vb2_buf.timestamp = out->vb2_buf.timestamp;
	cap->vb2_buf.copied_timestamp = 1;
	cap->field = out->field;
	cap->flags = (cap->flags & ~mask) | (out->flags & mask);
	if (out->flags & V4L2_BUF_FLAG_TIMECODE)
		cap->timecode = out->timecode;
}

/* Takes the buffers of the next job, if there is one. */
static bool kdec_job_take(struct kdec_context *ctx)
{
	struct kdec_buffer *out, *cap;

	if (!vb2_is_streaming(&ctx->out) || !vb2_is_streaming(&ctx->cap))
		return false;
	out = list_first_entry_or_null(&ctx->out_ready, struct kdec_buffer,
				       ready);
	if (!out)
		return false;

	if (ctx->held && ctx->held->vbuf.vb2_buf.timestamp !=
			 out->vbuf.vb2_buf.timestamp) {
		kdec_cap_done(ctx->held);
		ctx->held = NULL;
	}

	cap = ctx->held;
	if (cap) {
		ctx->held = NULL;
		ctx->job.continues = true;
	} else {
		cap = list_first_entry_or_null(&ctx->cap_ready,
					       struct kdec_buffer, ready);
		if (!cap)
			return false;
		list_del(&cap->ready);
		cap->failed = false;
		cap->session = 0;
		cap->job = 0;
	}
	list_del(&out->ready);
	ctx->job.out = out;
	ctx->job.cap = cap;
	return true;
}

/* Return: 0 when the job is in flight, or why it has failed. */
static int kdec_job_start(struct kdec_context *ctx)
{
	struct media_request *req = ctx->job.out->vbuf.vb2_buf.req_obj.req;
	unsigned long timeout;
	int ret;

	kdec_copy_metadata(ctx);

	/* Even if nobody will decode it: later requests build upon this one. */
	ret = v4l2_ctrl_request_setup(req, &ctx->hdl);
	if (ret)
		return ret;

	ctx->session = kdec_session_find(ctx);
	if (!ctx->session)
		return -ENODEV;

	ctx->job.number = ++ctx->session->jobs;
	ret = kdec_compose(ctx);
	if (ret)
		return ret;

	if (!kdec_session_notify(ctx->session))
		return -ETIMEDOUT;

	timeout = msecs_to_jiffies(v4l2_ctrl_g_ctrl(ctx->timeout));
	ctx->job.deadline = jiffies + timeout;
	schedule_delayed_work(&ctx->watchdog, timeout);
	return 0;
}

/**
 * kdec_schedule() - starts the next job unless one is in flight
 * @ctx: the context
 *
 * Called whenever a job may have become possible: a buffer was queued, a queue
 * was started, a job has ended.  Jobs that cannot be decoded are failed here,
 * one after the other.
 */
void kdec_schedule(struct kdec_context *ctx)
{
	lockdep_assert_held(&ctx->lock);

	while (!ctx->job.out && kdec_job_take(ctx)) {
		if (kdec_job_start(ctx))
			kdec_job_finish(ctx, VB2_BUF_STATE_ERROR);
	}
}

/**
 * kdec_job_finish() - ends the job in flight
 * @ctx: the context
 * @state: VB2_BUF_STATE_DONE or VB2_BUF_STATE_ERROR
 *
 * The caller starts the next job.
 */
void kdec_job_finish(struct kdec_context *ctx, enum vb2_buffer_state state)
{
	struct kdec_job job = ctx->job;

	lockdep_assert_held(&ctx->lock);
	kdec_job_forget(ctx);

	if (state == VB2_BUF_STATE_DONE) {
		job.cap->session = ctx->session->number;
		job.cap->job = job.number;
	} else {
		job.cap->failed = true;
	}

	/* Who waits for the request finds the picture: CAPTURE goes first. */
	if (job.out->vbuf.flags & V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF)
		ctx->held = job.cap;
	else
		kdec_cap_done(job.cap);
	kdec_out_done(ctx, job.out, state);
}

/**
 * kdec_flush() - gives back a held CAPTURE buffer
 * @ctx: the context
 *
 * If access units are waiting or in flight, the last of them does it.
 */
void kdec_flush(struct kdec_context *ctx)
{
	struct kdec_buffer *out = ctx->job.out;

	lockdep_assert_held(&ctx->lock);
	if (!list_empty(&ctx->out_ready))
		out = list_last_entry(&ctx->out_ready, struct kdec_buffer,
				      ready);
	if (out) {
		out->vbuf.flags &= ~V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF;
	} else if (ctx->held) {
		kdec_cap_done(ctx->held);
		ctx->held = NULL;
	}
}

/**
 * kdec_watchdog() - fails a job that takes too long
 * @work: of the context
 *
 * All other jobs of this client fail with it, without waiting again: see
 * kdec_session_hung().
 */
void kdec_watchdog(struct work_struct *work)
{
	struct kdec_context *ctx = container_of(to_delayed_work(work),
						struct kdec_context, watchdog);

	mutex_lock(&ctx->lock);
	if (!ctx->job.out)
		goto unlock;
	/* The job this was for may have ended while we waited for the lock. */
	if (time_before(jiffies, ctx->job.deadline)) {
		schedule_delayed_work(&ctx->watchdog,
				      ctx->job.deadline - jiffies);
		goto unlock;
	}
	kdec_session_hung(ctx->session);
	kdec_job_finish(ctx, VB2_BUF_STATE_ERROR);
	kdec_schedule(ctx);
unlock:
	mutex_unlock(&ctx->lock);
}

/**
 * kdec_job_dma_buf() - gives the CAPTURE buffer of the job in flight
 * @ctx: the context
 * @index: of the buffer
 * @generation: of the buffer
 * @size: its size is returned here
 *
 * Return: a reference to the dma-buf, or an error pointer.
 */
struct dma_buf *kdec_job_dma_buf(struct kdec_context *ctx, u32 index,
				 u32 generation, u64 *size)
{
	struct kdec_buffer *cap = ctx->job.cap;
	struct dma_buf *dma_buf;
	struct vb2_buffer *vb;

	lockdep_assert_held(&ctx->lock);
	if (!cap)
		return ERR_PTR(-ENOENT);
	vb = &cap->vbuf.vb2_buf;
	if (vb->index != index || cap->generation != generation)
		return ERR_PTR(-ENOENT);

	*size = vb2_plane_size(vb, 0);
	if (vb->memory == VB2_MEMORY_DMABUF) {
		get_dma_buf(vb->planes[0].dbuf);
		return vb->planes[0].dbuf;
	}
	dma_buf = ctx->cap.mem_ops->get_dmabuf(vb, vb->planes[0].mem_priv,
					       O_RDWR);
	if (!dma_buf)
		return ERR_PTR(-ENOMEM);
	return dma_buf;
}
