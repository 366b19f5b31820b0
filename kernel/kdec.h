/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kinora_dec: a V4L2 stateless decoder that lets a daemon do the decoding.
 *
 * core.c registers the devices, video.c answers the ioctls of the video node,
 * control.c holds one table for each codec, queue.c runs the jobs and
 * channel.c speaks with the daemon.  What the daemon and this driver say to
 * each other is in <linux/kinora_dec.h>.
 *
 * The order of all locks is written down in queue.c.
 */
#ifndef KDEC_H
#define KDEC_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <media/media-device.h>
#include <media/v4l2-ctrls.h>
#include <media/v4l2-device.h>
#include <media/v4l2-fh.h>
#include <media/videobuf2-v4l2.h>
#include <uapi/linux/kinora_dec.h>

#include "compat.h"

#define KDEC_NAME		"kinora_dec"

/*
 * Bytes that a buffer of the OUTPUT queue can have.  Before 6.8 vb2 laid the
 * mmap() offsets of a queue one after the other: those of 32 OUTPUT buffers
 * must begin below the offsets of the CAPTURE queue.
 */
#define KDEC_CODED_MAX		SZ_32M

/* Milliseconds that a job may take. */
#define KDEC_TIMEOUT_MIN	50
#define KDEC_TIMEOUT_MAX	10000

/* Among the driver's own controls of the user class. */
#define KDEC_CID_TIMEOUT	(V4L2_CTRL_CLASS_USER | 0xfa00)

struct kdec_context;
struct kdec_daemon;
struct kdec_session;
struct kdec_worker;

/**
 * struct kdec_formats - what a daemon advertised; never changes
 * @ref: of the daemon and of each file that was opened while it was there
 * @count: rows in @rows
 * @rows: checked and with sizes that fit their steps
 */
struct kdec_formats {
	struct kref ref;
	unsigned int count;
	struct kinora_dec_format rows[];
};

/**
 * struct kdec_raw - a format of the CAPTURE queue
 * @fourcc: V4L2_PIX_FMT_*
 * @bytes: of one sample
 *
 * All of them have two planes, the second with interleaved chroma samples for
 * every other line.
 */
struct kdec_raw {
	u32 fourcc;
	u32 bytes;
};

/**
 * struct kdec_timestamps - the pictures that a picture refers to
 * @used: bit n is set when @timestamp[n] means something
 * @timestamp: the reference_ts fields of the control, in its own order
 */
struct kdec_timestamps {
	u32 used;
	u64 timestamp[KINORA_DEC_MAX_REFERENCES];
};

/**
 * enum kdec_control_kind - where the limits of a control come from
 * @KDEC_CONTROL_JOB: a compound control, which is sent with every job
 * @KDEC_CONTROL_FIXED: a menu of which one entry can be chosen
 * @KDEC_CONTROL_PROFILE: a menu of which the daemon chose entries
 * @KDEC_CONTROL_LEVEL: a menu of which the daemon chose the last entry
 */
enum kdec_control_kind {
	KDEC_CONTROL_JOB,
	KDEC_CONTROL_FIXED,
	KDEC_CONTROL_PROFILE,
	KDEC_CONTROL_LEVEL,
};

/**
 * struct kdec_control - one control of a codec
 * @id: V4L2_CID_*
 * @kind: where its limits come from
 * @max: last entry of the menu, or the one entry that can be chosen
 * @check: what is more to check in a value than videodev does, or NULL
 */
struct kdec_control {
	u32 id;
	enum kdec_control_kind kind;
	u32 max;
	int (*check)(const void *value);
};

/**
 * struct kdec_codec - one codec
 * @fourcc: on the OUTPUT queue
 * @picture: the control without which a request cannot be decoded
 * @controls: all controls of this codec
 * @num_controls: how many those are
 * @references: reads the references out of a value of @picture
 */
struct kdec_codec {
	u32 fourcc;
	u32 picture;
	const struct kdec_control *controls;
	unsigned int num_controls;
	void (*references)(const void *value, struct kdec_timestamps *ts);
};

/**
 * struct kdec_device - the one device of this module
 * @dev: the platform device
 * @v4l2_dev: holds the memory of this struct
 * @vdev: the video node; its entity is the source of coded bytes
 * @mdev: the media device, to which requests belong
 * @source_pad: of the entity of @vdev
 * @decoder: the entity that clients look for
 * @decoder_pads: of @decoder
 * @sink: where the pictures come out
 * @sink_pad: of @sink
 * @intf: the video node as media interface
 * @misc: the control device
 * @mem_ops: of all queues
 * @contexts_lock: guards @contexts
 * @contexts: all open files of the video node
 * @daemon_lock: guards @daemon and the formats of it
 * @daemon: whoever has the control device open, or NULL
 * @sessions: number of the newest session
 */
struct kdec_device {
	struct device *dev;
	struct v4l2_device v4l2_dev;
	struct video_device vdev;
	struct media_device mdev;
	struct media_pad source_pad;
	struct media_entity decoder;
	struct media_pad decoder_pads[2];
	struct media_entity sink;
	struct media_pad sink_pad;
	struct media_intf_devnode *intf;
	struct miscdevice misc;
	const struct vb2_mem_ops *mem_ops;
	struct mutex contexts_lock; /* the list */
	struct list_head contexts;
	spinlock_t daemon_lock; /* the pointer and its formats */
	struct kdec_daemon *daemon;
	atomic64_t sessions;
};

/**
 * struct kdec_buffer - a buffer of either queue
 * @vbuf: the buffer that V4L2 knows
 * @ready: in one of the ready lists of the context
 * @entry: CAPTURE only: in &kdec_context.buffers
 * @generation: CAPTURE only: see &struct kinora_dec_job
 * @session: CAPTURE only: session whose pictures are in the buffer
 * @job: CAPTURE only: the last job of @session that filled it, or 0
 * @failed: CAPTURE only: part of the picture could not be decoded
 */
struct kdec_buffer {
	struct vb2_v4l2_buffer vbuf;
	struct list_head ready;
	struct list_head entry;
	u32 generation;
	u64 session;
	u64 job;
	bool failed;
};

/**
 * struct kdec_message - what a worker reads for a job
 * @ref: of the context and of all who are reading right now
 * @capacity: bytes of @bytes
 * @size: bytes that are used
 * @bytes: see &struct kinora_dec_job
 */
struct kdec_message {
	struct kref ref;
	size_t capacity;
	size_t size;
	u8 bytes[] __aligned(8);
};

/**
 * struct kdec_job - the job in flight
 * @out: buffer with the access unit; NULL when there is no job
 * @cap: buffer for the picture
 * @number: in the session
 * @deadline: in jiffies
 * @continues: @cap holds the first field of this picture
 * @delivered: somebody has read the message
 */
struct kdec_job {
	struct kdec_buffer *out;
	struct kdec_buffer *cap;
	u64 number;
	unsigned long deadline;
	bool continues;
	bool delivered;
};

/**
 * struct kdec_context - one open file of the video node
 * @ref: of the file and of each session
 * @fh: what V4L2 knows of the file
 * @kdev: the device
 * @entry: in &kdec_device.contexts
 * @pid: process that opened the file
 * @comm: name of that process
 * @formats: what was advertised when the file was opened
 * @hdl: all controls
 * @timeout: the control that bounds a job
 * @controls_lock: held while controls are set
 * @lock: guards everything below, and is the lock of both queues
 * @codec: of the OUTPUT format
 * @row: of the OUTPUT and the CAPTURE format, in @formats
 * @out_format: format of the OUTPUT queue
 * @cap_format: format of the CAPTURE queue
 * @out: the OUTPUT queue
 * @cap: the CAPTURE queue
 * @out_ready: buffers that wait for a job
 * @cap_ready: buffers that wait for a picture
 * @out_sequence: of the next OUTPUT buffer
 * @cap_sequence: of the next CAPTURE buffer
 * @buffers: all CAPTURE buffers with memory, oldest generation first
 * @generations: generation of the newest CAPTURE buffer
 * @held: CAPTURE buffer that waits for the second field, or NULL
 * @job: the job in flight
 * @session: the session, from the first job on, or NULL
 * @message: of the job in flight, kept for the next
 * @watchdog: ends a job that takes too long
 */
struct kdec_context {
	struct kref ref;
	struct v4l2_fh fh;
	struct kdec_device *kdev;
	struct list_head entry;
	u32 pid;
	char comm[TASK_COMM_LEN];
	struct kdec_formats *formats;
	struct v4l2_ctrl_handler hdl;
	struct v4l2_ctrl *timeout;
	struct mutex controls_lock; /* S_EXT_CTRLS */

	struct mutex lock; /* all that follows, and both queues */
	const struct kdec_codec *codec;
	const struct kinora_dec_format *row;
	struct v4l2_pix_format_mplane out_format;
	struct v4l2_pix_format_mplane cap_format;
	struct vb2_queue out;
	struct vb2_queue cap;
	struct list_head out_ready;
	struct list_head cap_ready;
	u32 out_sequence;
	u32 cap_sequence;
	struct list_head buffers;
	u32 generations;
	struct kdec_buffer *held;
	struct kdec_job job;
	struct kdec_session *session;
	struct kdec_message *message;
	struct delayed_work watchdog;
};

/**
 * struct kdec_session - a stream as the daemon sees it
 * @ref: of the context, of the daemon's lists and of each worker
 * @ctx: the stream
 * @daemon: to whom it was announced
 * @number: of the session
 * @jobs: number of the newest job; with the lock of the context
 * @worker: who is attached, or NULL; with the lock of the context
 * @silent: the last job got no answer; with the lock of the context
 * @entry: in &kdec_daemon.sessions, with the lock of the daemon
 * @event_entry: in &kdec_daemon.events, with the lock of the daemon
 * @pending: events to be read, one bit each, with the lock of the daemon
 * @told: the daemon has read that this session exists, with its lock
 * @about: what all events of this session have in common
 */
struct kdec_session {
	struct kref ref;
	struct kdec_context *ctx;
	struct kdec_daemon *daemon;
	u64 number;
	u64 jobs;
	struct kdec_worker *worker;
	bool silent;
	struct list_head entry;
	struct list_head event_entry;
	unsigned int pending;
	bool told;
	struct kinora_dec_event about;
};

static inline struct kdec_context *kdec_file_context(struct file *file)
{
	return container_of(kdec_file_to_fh(file), struct kdec_context, fh);
}

static inline struct kdec_buffer *kdec_from_vb2(struct vb2_buffer *vb)
{
	return container_of(to_vb2_v4l2_buffer(vb), struct kdec_buffer, vbuf);
}

/* core.c */
extern unsigned int kdec_timeout;

void kdec_context_put(struct kdec_context *ctx);

/* control.c */
const struct kdec_codec *kdec_find_codec(u32 fourcc);
int kdec_controls_init(struct kdec_context *ctx);

/* video.c */
extern const struct v4l2_ioctl_ops kdec_ioctl_ops;

const struct kdec_raw *kdec_find_raw(u32 fourcc);
u32 kdec_picture_max(const struct kdec_context *ctx);
void kdec_formats_put(struct kdec_formats *formats);
void kdec_init_formats(struct kdec_context *ctx);
__poll_t kdec_poll(struct file *file, poll_table *wait);
int kdec_mmap(struct file *file, struct vm_area_struct *vma);

/* queue.c */
int kdec_queues_init(struct kdec_context *ctx);
void kdec_queues_release(struct kdec_context *ctx);
void kdec_schedule(struct kdec_context *ctx);
void kdec_flush(struct kdec_context *ctx);
void kdec_job_finish(struct kdec_context *ctx, enum vb2_buffer_state state);
void kdec_watchdog(struct work_struct *work);
void kdec_message_put(struct kdec_message *message);
struct dma_buf *kdec_job_dma_buf(struct kdec_context *ctx, u32 index,
				 u32 generation, u64 *size);

/* channel.c */
extern const struct file_operations kdec_control_fops;

struct kdec_formats *kdec_advertised(struct kdec_device *kdev);
bool kdec_can_decode(struct kdec_context *ctx);
struct kdec_session *kdec_session_find(struct kdec_context *ctx);
bool kdec_session_notify(struct kdec_session *session);
void kdec_session_hung(struct kdec_session *session);
void kdec_session_end(struct kdec_context *ctx);

#endif /* KDEC_H */
