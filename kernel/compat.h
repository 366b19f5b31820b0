/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everything in which Linux 6.1 to 7.2 differ for this driver.  The other
 * files are written for the newest of them; nothing but this file asks for a
 * version.
 */
#ifndef KDEC_COMPAT_H
#define KDEC_COMPAT_H

#include <linux/module.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <media/media-device.h>
#include <media/v4l2-fh.h>
#include <media/v4l2-ioctl.h>
#include <media/videobuf2-v4l2.h>

/* 7.0 allocates by object instead of by size. */
#ifndef kzalloc_obj
#define kzalloc_obj(object)	kzalloc(sizeof(object), GFP_KERNEL)
#endif

/* From 6.13 on the name of a namespace is a string. */
#if KERNEL_VERSION(6, 13, 0) > LINUX_VERSION_CODE
#define KDEC_IMPORT_NS(name)	MODULE_IMPORT_NS(name)
#else
#define KDEC_IMPORT_NS(name)	MODULE_IMPORT_NS(#name)
#endif

/* 6.18 ties a struct v4l2_fh to its file in v4l2_fh_add(). */
#if KERNEL_VERSION(6, 18, 0) > LINUX_VERSION_CODE
static inline struct v4l2_fh *kdec_file_to_fh(struct file *file)
{
	return file->private_data;
}

static inline void kdec_fh_add(struct v4l2_fh *fh, struct file *file)
{
	file->private_data = fh;
	v4l2_fh_add(fh);
}

static inline void kdec_fh_del(struct v4l2_fh *fh, struct file *file)
{
	v4l2_fh_del(fh);
	file->private_data = NULL;
}
#else
static inline struct v4l2_fh *kdec_file_to_fh(struct file *file)
{
	return file_to_v4l2_fh(file);
}

static inline void kdec_fh_add(struct v4l2_fh *fh, struct file *file)
{
	v4l2_fh_add(fh, file);
}

static inline void kdec_fh_del(struct v4l2_fh *fh, struct file *file)
{
	v4l2_fh_del(fh, file);
}
#endif

/* From 6.13 on videobuf2 releases the queue's lock by itself while it waits. */
#if KERNEL_VERSION(6, 13, 0) > LINUX_VERSION_CODE
#define KDEC_VB2_WAIT_OPS			\
	.wait_prepare	= vb2_ops_wait_prepare,	\
	.wait_finish	= vb2_ops_wait_finish,
#else
#define KDEC_VB2_WAIT_OPS
#endif

/* VIDIOC_REMOVE_BUFS came with 6.10. */
#if KERNEL_VERSION(6, 10, 0) > LINUX_VERSION_CODE
#define KDEC_REMOVE_BUFS_OP
#else
#define KDEC_HAS_REMOVE_BUFS
#define KDEC_REMOVE_BUFS_OP			\
	.vidioc_remove_bufs = kdec_remove_bufs,
#endif

/*
 * From 7.0 on a media device counts its requests, and the count falls after
 * the request itself was freed.
 */
#if KERNEL_VERSION(7, 0, 0) > LINUX_VERSION_CODE
static inline bool kdec_requests_gone(struct media_device *mdev)
{
	return true;
}
#else
static inline bool kdec_requests_gone(struct media_device *mdev)
{
	return !atomic_read(&mdev->num_requests);
}
#endif

#endif /* KDEC_COMPAT_H */
