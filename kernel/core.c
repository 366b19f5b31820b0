// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module, its devices and the files that are opened on the video node.
 *
 * There is one device: a video node, a media device to which its requests
 * belong, and the control device of the daemon.  They are there as long as the
 * module is; what comes and goes is the daemon, and without one the video node
 * cannot be opened.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <media/media-request.h>
#include <media/v4l2-event.h>
#include <media/v4l2-ioctl.h>
#include <media/videobuf2-dma-sg.h>
#include <media/videobuf2-vmalloc.h>

#include "kdec.h"

static char *memory = "vmalloc";
module_param(memory, charp, 0444);
MODULE_PARM_DESC(memory, "where buffers come from: vmalloc (default) or dma-sg");

unsigned int kdec_timeout = 900;
module_param_named(timeout, kdec_timeout, uint, 0644);
MODULE_PARM_DESC(timeout,
		 "default of the control Decode Timeout, in milliseconds (900)");

static void kdec_context_release(struct kref *ref)
{
	struct kdec_context *ctx = container_of(ref, struct kdec_context, ref);

	kdec_message_put(ctx->message);
	kdec_formats_put(ctx->formats);
	mutex_destroy(&ctx->controls_lock);
	mutex_destroy(&ctx->lock);
	kfree(ctx);
}

/**
 * kdec_context_put() - gives a reference back
 * @ctx: the context
 */
void kdec_context_put(struct kdec_context *ctx)
{
	kref_put(&ctx->ref, kdec_context_release);
}

static int kdec_open(struct file *file)
{
	struct kdec_device *kdev = video_drvdata(file);
	struct kdec_context *ctx;
	int ret;

	ctx = kzalloc_obj(*ctx);
	if (!ctx)
		return -ENOMEM;
	kref_init(&ctx->ref);
	mutex_init(&ctx->lock);
	mutex_init(&ctx->controls_lock);
	INIT_DELAYED_WORK(&ctx->watchdog, kdec_watchdog);
	ctx->kdev = kdev;
	ctx->pid = task_tgid_nr(current);
	get_task_comm(ctx->comm, current);

	ctx->formats = kdec_advertised(kdev);
	if (!ctx->formats) {
		ret = -ENODEV;
		goto put_context;
	}
	kdec_init_formats(ctx);
	ret = kdec_queues_init(ctx);
	if (ret)
		goto put_context;
	ret = kdec_controls_init(ctx);
	if (ret)
		goto put_context;

	v4l2_fh_init(&ctx->fh, &kdev->vdev);
	ctx->fh.ctrl_handler = &ctx->hdl;
	kdec_fh_add(&ctx->fh, file);

	mutex_lock(&kdev->contexts_lock);
	list_add_tail(&ctx->entry, &kdev->contexts);
	mutex_unlock(&kdev->contexts_lock);
	return 0;

put_context:
	kdec_context_put(ctx);
	return ret;
}

/*
 * A session descriptor may keep the context itself for longer, but finds
 * nothing in it any more.  The context leaves the list after its session has
 * ended: so a daemon that goes away has nothing left when it has walked it.
 */
static int kdec_release(struct file *file)
{
	struct kdec_context *ctx = kdec_file_context(file);
	struct kdec_device *kdev = ctx->kdev;

	mutex_lock(&ctx->lock);
	kdec_queues_release(ctx);
	kdec_session_end(ctx);
	mutex_unlock(&ctx->lock);

	mutex_lock(&kdev->contexts_lock);
	list_del(&ctx->entry);
	mutex_unlock(&kdev->contexts_lock);

	cancel_delayed_work_sync(&ctx->watchdog);
	kdec_fh_del(&ctx->fh, file);
	v4l2_fh_exit(&ctx->fh);
	v4l2_ctrl_handler_free(&ctx->hdl);
	kdec_context_put(ctx);
	return 0;
}

/*
 * The first control that is set in a request gives the request a handler.  Two
 * threads that set theirs at once would give it two, of which the second is
 * freed while the first is being taken away; drivers with one lock for all
 * their ioctls never see that.
 */
static long kdec_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct kdec_context *ctx = kdec_file_context(file);
	long ret;

	/* By number: the size differs for 32-bit programs. */
	if (_IOC_TYPE(cmd) != 'V' ||
	    _IOC_NR(cmd) != _IOC_NR(VIDIOC_S_EXT_CTRLS))
		return video_ioctl2(file, cmd, arg);

	if (mutex_lock_interruptible(&ctx->controls_lock))
		return -ERESTARTSYS;
	ret = video_ioctl2(file, cmd, arg);
	mutex_unlock(&ctx->controls_lock);
	return ret;
}

static const struct v4l2_file_operations kdec_fops = {
	.owner		= THIS_MODULE,
	.open		= kdec_open,
	.release	= kdec_release,
	.poll		= kdec_poll,
	.unlocked_ioctl	= kdec_ioctl,
	.mmap		= kdec_mmap,
};

/*
 * A request outlives the media device's file, and its memory is freed through
 * the operations below: each holds the module.
 */
static struct media_request *kdec_req_alloc(struct media_device *mdev)
{
	struct media_request *req = kzalloc_obj(*req);

	if (req)
		__module_get(THIS_MODULE);
	return req;
}

static void kdec_req_free(struct media_request *req)
{
	kfree(req);
	module_put(THIS_MODULE);
}

static struct kdec_context *kdec_req_context(struct media_request *req)
{
	struct media_request_object *obj;

	list_for_each_entry(obj, &req->objects, list) {
		struct vb2_buffer *vb;

		if (!vb2_request_object_is_buffer(obj))
			continue;
		vb = container_of(obj, struct vb2_buffer, req_obj);
		return vb2_get_drv_priv(vb->vb2_queue);
	}
	return NULL;
}

/*
 * The core holds req_queue_mutex during both of these, and so does everybody
 * who takes buffers out of a request or closes a file.
 */
static int kdec_req_validate(struct media_request *req)
{
	struct kdec_context *ctx = kdec_req_context(req);
	struct media_request_object *obj;
	struct v4l2_ctrl_handler *hdl;
	struct v4l2_ctrl *picture = NULL;
	bool can_decode;
	u32 id;

	if (!ctx)
		return -ENOENT;
	if (vb2_request_buffer_cnt(req) > 1)
		return -EINVAL;

	/* Controls of another file would never be complete. */
	list_for_each_entry(obj, &req->objects, list) {
		if (!vb2_request_object_is_buffer(obj) &&
		    obj->priv != &ctx->hdl)
			return -EINVAL;
	}

	/*
	 * Not every client looks whether a picture has an error, GStreamer 1.26
	 * does not: one whose daemon is gone learns it here.
	 */
	mutex_lock(&ctx->lock);
	id = ctx->codec->picture;
	can_decode = kdec_can_decode(ctx);
	mutex_unlock(&ctx->lock);
	if (!can_decode)
		return -ENODEV;

	hdl = v4l2_ctrl_request_hdl_find(req, &ctx->hdl);
	if (hdl) {
		picture = v4l2_ctrl_request_hdl_ctrl_find(hdl, id);
		v4l2_ctrl_request_hdl_put(hdl);
	}
	if (!picture)
		return -ENOENT;
	return vb2_request_validate(req);
}

static void kdec_req_queue(struct media_request *req)
{
	struct kdec_context *ctx = kdec_req_context(req);

	vb2_request_queue(req);
	if (WARN_ON(!ctx))
		return;
	mutex_lock(&ctx->lock);
	kdec_schedule(ctx);
	mutex_unlock(&ctx->lock);
}

static const struct media_device_ops kdec_media_ops = {
	.req_alloc	= kdec_req_alloc,
	.req_free	= kdec_req_free,
	.req_validate	= kdec_req_validate,
	.req_queue	= kdec_req_queue,
};

static int kdec_add_entity(struct kdec_device *kdev,
			   struct media_entity *entity, const char *name,
			   u32 function, u16 num_pads, struct media_pad *pads)
{
	int ret;

	entity->name = name;
	entity->function = function;
	entity->obj_type = MEDIA_ENTITY_TYPE_BASE;
	if (function == MEDIA_ENT_F_IO_V4L) {
		entity->info.dev.major = VIDEO_MAJOR;
		entity->info.dev.minor = kdev->vdev.minor;
	}
	ret = media_entity_pads_init(entity, num_pads, pads);
	if (ret)
		return ret;
	return media_device_register_entity(&kdev->mdev, entity);
}

/*
 * Clients look for an entity with the function of a decoder and follow its
 * links to the I/O entities, and from these to the interface with the number
 * of the video node.
 */
static int kdec_add_entities(struct kdec_device *kdev)
{
	const u32 flags = MEDIA_LNK_FL_ENABLED | MEDIA_LNK_FL_IMMUTABLE;
	struct media_entity *source = &kdev->vdev.entity;
	int ret;

	kdev->source_pad.flags = MEDIA_PAD_FL_SOURCE;
	kdev->decoder_pads[0].flags = MEDIA_PAD_FL_SINK;
	kdev->decoder_pads[1].flags = MEDIA_PAD_FL_SOURCE;
	kdev->sink_pad.flags = MEDIA_PAD_FL_SINK;

	ret = kdec_add_entity(kdev, source, KDEC_NAME "-source",
			      MEDIA_ENT_F_IO_V4L, 1, &kdev->source_pad);
	if (ret)
		return ret;
	ret = kdec_add_entity(kdev, &kdev->decoder, KDEC_NAME "-decoder",
			      MEDIA_ENT_F_PROC_VIDEO_DECODER, 2,
			      kdev->decoder_pads);
	if (ret)
		goto remove_source;
	ret = kdec_add_entity(kdev, &kdev->sink, KDEC_NAME "-sink",
			      MEDIA_ENT_F_IO_V4L, 1, &kdev->sink_pad);
	if (ret)
		goto remove_decoder;

	ret = media_create_pad_link(source, 0, &kdev->decoder, 0, flags);
	if (ret)
		goto remove_sink;
	ret = media_create_pad_link(&kdev->decoder, 1, &kdev->sink, 0, flags);
	if (ret)
		goto remove_sink;

	ret = -ENOMEM;
	kdev->intf = media_devnode_create(&kdev->mdev, MEDIA_INTF_T_V4L_VIDEO,
					  0, VIDEO_MAJOR, kdev->vdev.minor);
	if (!kdev->intf)
		goto remove_sink;
	if (!media_create_intf_link(source, &kdev->intf->intf, flags) ||
	    !media_create_intf_link(&kdev->sink, &kdev->intf->intf, flags))
		goto remove_intf;
	return 0;

	/* With an entity or an interface its links are removed. */
remove_intf:
	media_devnode_remove(kdev->intf);
remove_sink:
	media_device_unregister_entity(&kdev->sink);
remove_decoder:
	media_device_unregister_entity(&kdev->decoder);
remove_source:
	media_device_unregister_entity(source);
	return ret;
}

static void kdec_remove_entities(struct kdec_device *kdev)
{
	media_devnode_remove(kdev->intf);
	media_device_unregister_entity(&kdev->sink);
	media_device_unregister_entity(&kdev->decoder);
	media_device_unregister_entity(&kdev->vdev.entity);
}

static int kdec_choose_memory(struct kdec_device *kdev)
{
	if (!strcmp(memory, "vmalloc")) {
		kdev->mem_ops = &vb2_vmalloc_memops;
		return 0;
	}
	if (strcmp(memory, "dma-sg")) {
		dev_err(kdev->dev, "memory is vmalloc or dma-sg, not %s\n",
			memory);
		return -EINVAL;
	}

	/* Not every kernel has it, and who does not ask need not load it. */
	request_module("videobuf2-dma-sg");
	kdev->mem_ops = symbol_get(vb2_dma_sg_memops);
	if (!kdev->mem_ops) {
		dev_err(kdev->dev, "videobuf2-dma-sg is not available\n");
		return -ENOENT;
	}
	return dma_coerce_mask_and_coherent(kdev->dev, DMA_BIT_MASK(64));
}

static void kdec_forget_memory(struct kdec_device *kdev)
{
	if (kdev->mem_ops && kdev->mem_ops != &vb2_vmalloc_memops)
		symbol_put(vb2_dma_sg_memops);
}

/* Called when the last of the nodes and files is gone. */
static void kdec_device_release(struct v4l2_device *v4l2_dev)
{
	struct kdec_device *kdev = container_of(v4l2_dev, struct kdec_device,
						v4l2_dev);

	v4l2_device_unregister(v4l2_dev);
	media_device_cleanup(&kdev->mdev);
	kdec_forget_memory(kdev);
	mutex_destroy(&kdev->contexts_lock);
	kfree(kdev);
}

static int kdec_probe(struct platform_device *pdev)
{
	struct video_device *vdev;
	struct kdec_device *kdev;
	int ret;

	kdev = kzalloc_obj(*kdev);
	if (!kdev)
		return -ENOMEM;
	kdev->dev = &pdev->dev;
	mutex_init(&kdev->contexts_lock);
	INIT_LIST_HEAD(&kdev->contexts);
	spin_lock_init(&kdev->daemon_lock);
	platform_set_drvdata(pdev, kdev);

	ret = kdec_choose_memory(kdev);
	if (ret)
		goto free_device;

	kdev->mdev.dev = &pdev->dev;
	kdev->mdev.ops = &kdec_media_ops;
	strscpy(kdev->mdev.model, KDEC_NAME, sizeof(kdev->mdev.model));
	media_device_init(&kdev->mdev);

	kdev->v4l2_dev.mdev = &kdev->mdev;
	ret = v4l2_device_register(&pdev->dev, &kdev->v4l2_dev);
	if (ret) {
		media_device_cleanup(&kdev->mdev);
		goto free_device;
	}
	kdev->v4l2_dev.release = kdec_device_release;

	vdev = &kdev->vdev;
	strscpy(vdev->name, KDEC_NAME, sizeof(vdev->name));
	vdev->v4l2_dev = &kdev->v4l2_dev;
	vdev->vfl_dir = VFL_DIR_M2M;
	vdev->device_caps = V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING;
	vdev->fops = &kdec_fops;
	vdev->ioctl_ops = &kdec_ioctl_ops;
	vdev->release = video_device_release_empty;
	video_set_drvdata(vdev, kdev);
	ret = video_register_device(vdev, VFL_TYPE_VIDEO, -1);
	if (ret)
		goto put_device;

	ret = kdec_add_entities(kdev);
	if (ret)
		goto unregister_video;
	ret = media_device_register(&kdev->mdev);
	if (ret)
		goto remove_entities;

	/* Last, because with it the daemon comes. */
	kdev->misc.minor = MISC_DYNAMIC_MINOR;
	kdev->misc.name = KINORA_DEC_NAME;
	kdev->misc.fops = &kdec_control_fops;
	kdev->misc.parent = &pdev->dev;
	kdev->misc.mode = 0600;
	ret = misc_register(&kdev->misc);
	if (ret)
		goto unregister_media;
	return 0;

unregister_media:
	media_device_unregister(&kdev->mdev);
remove_entities:
	kdec_remove_entities(kdev);
unregister_video:
	video_unregister_device(vdev);
put_device:
	v4l2_device_put(&kdev->v4l2_dev);
	return ret;

free_device:
	kdec_forget_memory(kdev);
	kfree(kdev);
	return ret;
}

static struct platform_driver kdec_driver = {
	.driver	= { .name = KDEC_NAME },
};

static struct platform_device *kdec_pdev;

static int __init kdec_init(void)
{
	kdec_pdev = platform_create_bundle(&kdec_driver, kdec_probe, NULL, 0,
					   NULL, 0);
	return PTR_ERR_OR_ZERO(kdec_pdev);
}

static void __exit kdec_exit(void)
{
	struct kdec_device *kdev = platform_get_drvdata(kdec_pdev);

	/* Nothing is open: every file and every request holds the module. */
	while (!kdec_requests_gone(&kdev->mdev))
		usleep_range(1000, 2000);
	misc_deregister(&kdev->misc);
	media_device_unregister(&kdev->mdev);
	kdec_remove_entities(kdev);
	video_unregister_device(&kdev->vdev);
	v4l2_device_put(&kdev->v4l2_dev);

	platform_device_unregister(kdec_pdev);
	platform_driver_unregister(&kdec_driver);
}

module_init(kdec_init);
module_exit(kdec_exit);

MODULE_DESCRIPTION("Stateless video decoder that lets a daemon decode");
MODULE_AUTHOR("The Kinora authors");
MODULE_LICENSE("GPL");
KDEC_IMPORT_NS(DMA_BUF);
