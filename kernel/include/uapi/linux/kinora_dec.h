/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What the kinora_dec module and the daemon that decodes for it say to each
 * other over /dev/kinora-dec.
 *
 * The daemon opens the device (one daemon at a time, EBUSY for the second),
 * advertises what it decodes, and reads events from this control descriptor.
 * As long as it holds it open, the decoder's video node can be opened.
 *
 * When a stream has its first picture to decode the module announces a
 * session.  KINORA_DEC_IOC_ATTACH turns it into a session descriptor, from
 * which one job for each access unit is read and to which its end is
 * written.  A session descriptor gives access to this stream and nothing
 * else, so it can be handed to a process that is confined to it.  When the
 * descriptor is closed the job that was read from it fails, and the session is
 * announced again when the stream has another job.
 *
 * All integers are in the machine's byte order, which is little-endian
 * wherever the module is built.
 */
#ifndef _UAPI_LINUX_KINORA_DEC_H
#define _UAPI_LINUX_KINORA_DEC_H

#include <linux/ioctl.h>
#include <linux/types.h>

/** Version of everything in this file; ADVERTISE refuses any other with EPROTO. */
#define KINORA_DEC_ABI			1

/** Name of the control device below /dev. */
#define KINORA_DEC_NAME			"kinora-dec"

/** Most rows that an advertisement may have. */
#define KINORA_DEC_MAX_FORMATS		16

/** Most references that a job can have (H.264 and HEVC: 16, VP9: 3, AV1: 8). */
#define KINORA_DEC_MAX_REFERENCES	16

/** An index that names no buffer. */
#define KINORA_DEC_NO_BUFFER		0xffffffffU

/**
 * struct kinora_dec_format - one pair of formats that the daemon decodes
 *
 * @coded: fourcc on the OUTPUT queue, a V4L2_PIX_FMT_* of the stateless API
 * @raw: fourcc on the CAPTURE queue
 * @min_width: smallest coded width, in luma samples
 * @max_width: largest coded width
 * @step_width: the width is @min_width plus a multiple of this, 1 or more
 * @min_height: smallest coded height, in luma samples
 * @max_height: largest coded height
 * @step_height: the height is @min_height plus a multiple of this, 1 or more
 * @profiles: bit n is set when entry n of the codec's profile menu
 *	(V4L2_CID_MPEG_VIDEO_H264_PROFILE and so on) is decoded
 * @max_level: highest entry of the codec's level menu; 0 when it has none
 * @reserved: zero
 */
struct kinora_dec_format {
	__u32 coded;
	__u32 raw;
	__u32 min_width;
	__u32 max_width;
	__u32 step_width;
	__u32 min_height;
	__u32 max_height;
	__u32 step_height;
	__u64 profiles;
	__u32 max_level;
	__u32 reserved[5];
};

/**
 * struct kinora_dec_advertise - all that the daemon decodes
 *
 * @abi: KINORA_DEC_ABI
 * @count: rows used in @formats, 1 to KINORA_DEC_MAX_FORMATS
 * @formats: the rows; several rows may have the same @coded
 *
 * Once for each control descriptor, EBUSY for the second time.  The first row
 * is the default format of the video node.
 */
struct kinora_dec_advertise {
	__u32 abi;
	__u32 count;
	struct kinora_dec_format formats[KINORA_DEC_MAX_FORMATS];
};

/**
 * enum kinora_dec_event_type - what an event tells
 *
 * @KINORA_DEC_EVENT_OPEN: the session has a job and nobody attached to it;
 *	told again with each job until somebody has
 * @KINORA_DEC_EVENT_HUNG: whoever is attached did not answer in time and was
 *	detached; reads from its descriptor return 0.  Its mappings stay: a
 *	process that may still write should be ended before another attaches
 * @KINORA_DEC_EVENT_CLOSE: the stream has ended; reads from the session's
 *	descriptor return 0
 */
enum kinora_dec_event_type {
	KINORA_DEC_EVENT_OPEN	= 1,
	KINORA_DEC_EVENT_HUNG	= 2,
	KINORA_DEC_EVENT_CLOSE	= 3,
};

/**
 * struct kinora_dec_event - what read() on the control descriptor returns
 *
 * @type: an &enum kinora_dec_event_type
 * @pid: process that opened the video node, in the initial namespace
 * @session: the session; numbers start at 1 and are never used again
 * @coded: fourcc on the OUTPUT queue
 * @width: coded width, in luma samples
 * @height: coded height, in luma samples
 * @reserved: zero
 * @comm: name of that process, closed by a zero byte
 *
 * One event for each read(); a shorter buffer is EINVAL.
 */
struct kinora_dec_event {
	__u32 type;
	__u32 pid;
	__u64 session;
	__u32 coded;
	__u32 width;
	__u32 height;
	__u32 reserved;
	char comm[16];
};

/**
 * struct kinora_dec_attach - argument of KINORA_DEC_IOC_ATTACH
 *
 * @session: the session of a KINORA_DEC_EVENT_OPEN
 * @fd: the session descriptor is returned here (close-on-exec)
 * @reserved: zero
 *
 * ENOENT when the stream has ended meanwhile, EBUSY when somebody is attached.
 */
struct kinora_dec_attach {
	__u64 session;
	__s32 fd;
	__u32 reserved;
};

/**
 * struct kinora_dec_reference - a picture that the job's controls refer to
 *
 * @timestamp: the reference_ts of the control
 * @job: number of the last job that was decoded into this buffer without
 *	error, 0 when there is none or no buffer has this timestamp
 * @index: index of the CAPTURE buffer, or KINORA_DEC_NO_BUFFER
 * @generation: generation of that buffer
 *
 * Clients use timestamps again, so they are looked up when the job starts.
 */
struct kinora_dec_reference {
	__u64 timestamp;
	__u64 job;
	__u32 index;
	__u32 generation;
};

/** The CAPTURE buffer is kept for the next job: this is one field of two. */
#define KINORA_DEC_JOB_HOLD		(1U << 0)
/** The CAPTURE buffer was kept: it holds the other field already. */
#define KINORA_DEC_JOB_CONTINUES	(1U << 1)

/**
 * struct kinora_dec_job - what read() on a session descriptor returns
 *
 * @abi: KINORA_DEC_ABI
 * @size: bytes of the whole message: this, the controls, the OUTPUT bytes
 * @session: the session
 * @job: number of the job; rises by one in each session, the first is 1
 * @timestamp: of the OUTPUT buffer, in nanoseconds
 * @coded: fourcc on the OUTPUT queue
 * @flags: KINORA_DEC_JOB_*
 * @controls: number of controls that follow
 * @data_offset: where the OUTPUT bytes begin, from the start of the message
 * @data_size: number of OUTPUT bytes
 * @raw: fourcc of the CAPTURE buffer
 * @width: width of the CAPTURE format, in luma samples
 * @height: height of the CAPTURE format, in lines
 * @stride: bytes from one line to the next, in every plane
 * @capture_size: bytes of the CAPTURE buffer; planes follow one another
 * @capture_index: index of the CAPTURE buffer
 * @capture_generation: generation of that buffer: a number that rises with
 *	each buffer that this stream was given
 * @oldest_generation: no CAPTURE buffer with a lower one exists any longer
 * @references_used: how many of @references hold something
 * @references: pictures in the order of the codec's control: H.264 dpb[],
 *	MPEG-2 forward and backward, VP8 and VP9 last, golden and altref
 *
 * A message is read whole: a buffer that is too small is EMSGSIZE, the message
 * stays, and FIONREAD tells its size.  0 means that the session is over for
 * this descriptor.
 */
struct kinora_dec_job {
	__u32 abi;
	__u32 size;
	__u64 session;
	__u64 job;
	__u64 timestamp;
	__u32 coded;
	__u32 flags;
	__u32 controls;
	__u32 data_offset;
	__u32 data_size;
	__u32 raw;
	__u32 width;
	__u32 height;
	__u32 stride;
	__u32 capture_size;
	__u32 capture_index;
	__u32 capture_generation;
	__u32 oldest_generation;
	__u32 references_used;
	struct kinora_dec_reference references[KINORA_DEC_MAX_REFERENCES];
};

/**
 * struct kinora_dec_control - head of one control of a job
 *
 * @id: V4L2_CID_STATELESS_*
 * @elems: elements that are used; for all but dynamic arrays the number that
 *	the control has
 * @size: bytes of the value, which follows and is padded to a multiple of 8
 * @reserved: zero
 */
struct kinora_dec_control {
	__u32 id;
	__u32 elems;
	__u32 size;
	__u32 reserved;
};

/**
 * struct kinora_dec_buffer - argument of KINORA_DEC_IOC_BUFFER
 *
 * @index: capture_index of the job in flight
 * @generation: capture_generation of the job in flight
 * @fd: a dma-buf is returned here (close-on-exec); it can be mapped for
 *	reading and writing, and a mapping stays valid when the buffer is gone
 * @reserved: zero
 * @size: bytes of the buffer are returned here
 *
 * ENOENT when the stream has no such buffer any longer.
 */
struct kinora_dec_buffer {
	__u32 index;
	__u32 generation;
	__s32 fd;
	__u32 reserved;
	__u64 size;
};

/**
 * enum kinora_dec_status - how a job ended
 *
 * @KINORA_DEC_STATUS_DONE: the CAPTURE buffer holds the picture, or with
 *	KINORA_DEC_JOB_HOLD will hold it after the next job
 * @KINORA_DEC_STATUS_ERROR: the access unit could not be decoded; the buffers
 *	are marked with V4L2_BUF_FLAG_ERROR and the stream goes on
 */
enum kinora_dec_status {
	KINORA_DEC_STATUS_DONE	= 0,
	KINORA_DEC_STATUS_ERROR	= 1,
};

/**
 * struct kinora_dec_done - what write() on a session descriptor takes
 *
 * @job: number of the job in flight
 * @status: an &enum kinora_dec_status
 * @reserved: zero
 *
 * Any other size or status is EINVAL.  ECANCELED when @job is not, or no
 * longer, in flight: the answer is dropped and the session goes on.
 */
struct kinora_dec_done {
	__u64 job;
	__u32 status;
	__u32 reserved;
};

/** On the control descriptor: says what the daemon decodes. */
#define KINORA_DEC_IOC_ADVERTISE _IOW('K', 0, struct kinora_dec_advertise)
/** On the control descriptor: opens a session descriptor. */
#define KINORA_DEC_IOC_ATTACH	 _IOWR('K', 1, struct kinora_dec_attach)
/** On a session descriptor: gives a CAPTURE buffer as a dma-buf. */
#define KINORA_DEC_IOC_BUFFER	 _IOWR('K', 2, struct kinora_dec_buffer)

#endif /* _UAPI_LINUX_KINORA_DEC_H */
