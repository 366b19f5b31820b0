// SPDX-License-Identifier: GPL-2.0-only
/*
 * The channel to the daemon: the control device, the sessions that are
 * announced on it, and the descriptors from which workers read jobs.
 *
 * A session belongs to one context and one daemon, and to the first worker
 * that attaches:
 *
 *     OPEN --- read ---> ATTACH ---> reads and answers jobs
 *       ^                              |
 *       +---- with the next job -------+  descriptor closed, or HUNG
 *
 * It ends with its context, when the context changes to another codec, and
 * with the daemon.  What a worker has in hand by then is an object of its own,
 * whose reads return 0 from then on.
 */
#include <linux/anon_inodes.h>
#include <linux/dma-buf.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/uaccess.h>

#include <asm/ioctls.h>

#include "kdec.h"

/* Larger pictures than any codec has profiles for. */
#define KDEC_SIZE_MAX	16384

/**
 * struct kdec_daemon - whoever has the control device open
 * @ref: of the file and of each session
 * @kdev: the device
 * @formats: what was advertised, or NULL; with the daemon_lock of the device
 * @lock: guards the lists and what sessions say of themselves
 * @sessions: those that have not ended
 * @events: sessions with something to be read
 * @wait: for events
 */
struct kdec_daemon {
	struct kref ref;
	struct kdec_device *kdev;
	struct kdec_formats *formats;
	spinlock_t lock; /* the lists and the events of sessions */
	struct list_head sessions;
	struct list_head events;
	wait_queue_head_t wait;
};

/**
 * struct kdec_worker - a session descriptor
 * @session: to which it gives access
 * @wait: for jobs
 * @ready: there is a message to be read; with the lock of the context
 * @over: there will never be one; with the lock of the context
 */
struct kdec_worker {
	struct kdec_session *session;
	wait_queue_head_t wait;
	bool ready;
	bool over;
};

static void kdec_daemon_release(struct kref *ref)
{
	struct kdec_daemon *daemon = container_of(ref, struct kdec_daemon, ref);

	kdec_formats_put(daemon->formats);
	kfree(daemon);
}

static void kdec_daemon_put(struct kdec_daemon *daemon)
{
	kref_put(&daemon->ref, kdec_daemon_release);
}

static void kdec_session_release(struct kref *ref)
{
	struct kdec_session *session = container_of(ref, struct kdec_session,
						    ref);

	kdec_daemon_put(session->daemon);
	kdec_context_put(session->ctx);
	kfree(session);
}

static void kdec_session_put(struct kdec_session *session)
{
	kref_put(&session->ref, kdec_session_release);
}

/**
 * kdec_advertised() - what can be decoded right now
 * @kdev: the device
 *
 * Return: a reference to the formats, or NULL when there is no daemon.
 */
struct kdec_formats *kdec_advertised(struct kdec_device *kdev)
{
	struct kdec_formats *formats = NULL;

	spin_lock(&kdev->daemon_lock);
	if (kdev->daemon)
		formats = kdev->daemon->formats;
	if (formats)
		kref_get(&formats->ref);
	spin_unlock(&kdev->daemon_lock);
	return formats;
}

/* The daemon, if it decodes what this context has set up. */
static struct kdec_daemon *kdec_daemon_for(struct kdec_context *ctx)
{
	struct kdec_device *kdev = ctx->kdev;
	struct kdec_daemon *daemon;
	struct kdec_formats *formats;
	unsigned int i;

	spin_lock(&kdev->daemon_lock);
	daemon = kdev->daemon;
	formats = daemon ? daemon->formats : NULL;
	for (i = 0; formats && i < formats->count; i++) {
		const struct kinora_dec_format *row = &formats->rows[i];

		if (row->coded == ctx->out_format.pixelformat &&
		    row->raw == ctx->cap_format.pixelformat &&
		    row->max_width >= ctx->out_format.width &&
		    row->max_height >= ctx->out_format.height)
			break;
	}
	if (formats && i < formats->count)
		kref_get(&daemon->ref);
	else
		daemon = NULL;
	spin_unlock(&kdev->daemon_lock);
	return daemon;
}

/**
 * kdec_can_decode() - whether somebody decodes what a context has set up
 * @ctx: the context
 *
 * Return: whether there is a daemon for it right now.
 */
bool kdec_can_decode(struct kdec_context *ctx)
{
	struct kdec_daemon *daemon;

	lockdep_assert_held(&ctx->lock);
	daemon = kdec_daemon_for(ctx);
	if (!daemon)
		return false;
	kdec_daemon_put(daemon);
	return true;
}

/**
 * kdec_session_find() - gives the session of a context
 * @ctx: the context
 *
 * Return: the session, a new one if need be, or NULL when there is no daemon
 * for it.
 */
struct kdec_session *kdec_session_find(struct kdec_context *ctx)
{
	struct kdec_session *session;
	struct kdec_daemon *daemon;

	lockdep_assert_held(&ctx->lock);
	if (ctx->session)
		return ctx->session;

	daemon = kdec_daemon_for(ctx);
	if (!daemon)
		return NULL;
	session = kzalloc_obj(*session);
	if (!session) {
		kdec_daemon_put(daemon);
		return NULL;
	}

	/* The reference of the context; that of the list is taken below. */
	kref_init(&session->ref);
	kref_get(&ctx->ref);
	session->ctx = ctx;
	session->daemon = daemon;
	session->number = atomic64_inc_return(&ctx->kdev->sessions);
	INIT_LIST_HEAD(&session->event_entry);
	session->about.session = session->number;
	session->about.pid = ctx->pid;
	session->about.coded = ctx->out_format.pixelformat;
	session->about.width = ctx->out_format.width;
	session->about.height = ctx->out_format.height;
	strscpy(session->about.comm, ctx->comm, sizeof(session->about.comm));

	kref_get(&session->ref);
	spin_lock(&daemon->lock);
	list_add_tail(&session->entry, &daemon->sessions);
	spin_unlock(&daemon->lock);
	ctx->session = session;
	return session;
}

/* With the lock of the daemon. */
static void kdec_post(struct kdec_session *session,
		      enum kinora_dec_event_type type)
{
	struct kdec_daemon *daemon = session->daemon;

	session->pending |= BIT(type);
	if (list_empty(&session->event_entry)) {
		kref_get(&session->ref);
		list_add_tail(&session->event_entry, &daemon->events);
	}
	wake_up_interruptible(&daemon->wait);
}

/*
 * Takes back that there is a job, if nobody has read it yet: the session has
 * ended, or somebody attached who had read an earlier event.
 */
static void kdec_take_back_open(struct kdec_session *session)
{
	struct kdec_daemon *daemon = session->daemon;
	bool last;

	spin_lock(&daemon->lock);
	last = session->pending == BIT(KINORA_DEC_EVENT_OPEN);
	session->pending &= ~BIT(KINORA_DEC_EVENT_OPEN);
	if (last)
		list_del_init(&session->event_entry);
	spin_unlock(&daemon->lock);

	if (last)
		kdec_session_put(session);
}

/**
 * kdec_session_notify() - tells the worker whether there is a job to read
 * @session: the session
 *
 * Without a worker the daemon is told that there is a job.
 *
 * Return: whether the job should wait for an answer.  It should not after the
 * last one got none: a stream whose daemon hangs has waited once, and fails
 * from then on until somebody attaches.
 */
bool kdec_session_notify(struct kdec_session *session)
{
	const struct kdec_job *job = &session->ctx->job;
	struct kdec_worker *worker = session->worker;
	bool ready = job->out && !job->delivered;

	lockdep_assert_held(&session->ctx->lock);
	if (worker) {
		WRITE_ONCE(worker->ready, ready);
		if (ready)
			wake_up_interruptible(&worker->wait);
		return true;
	}
	if (!ready)
		return true;

	spin_lock(&session->daemon->lock);
	kdec_post(session, KINORA_DEC_EVENT_OPEN);
	spin_unlock(&session->daemon->lock);
	return !session->silent;
}

static void kdec_detach(struct kdec_session *session)
{
	struct kdec_worker *worker = session->worker;

	session->worker = NULL;
	WRITE_ONCE(worker->ready, false);
	WRITE_ONCE(worker->over, true);
	wake_up_interruptible(&worker->wait);
}

/**
 * kdec_session_hung() - detaches a worker that does not answer
 * @session: the session
 */
void kdec_session_hung(struct kdec_session *session)
{
	lockdep_assert_held(&session->ctx->lock);

	session->silent = true;
	if (!session->worker)
		return;
	kdec_detach(session);
	spin_lock(&session->daemon->lock);
	kdec_post(session, KINORA_DEC_EVENT_HUNG);
	spin_unlock(&session->daemon->lock);
}

/**
 * kdec_session_end() - ends the session of a context, if it has one
 * @ctx: the context
 *
 * There must be no job in flight.
 */
void kdec_session_end(struct kdec_context *ctx)
{
	struct kdec_session *session = ctx->session;
	struct kdec_daemon *daemon;

	lockdep_assert_held(&ctx->lock);
	if (!session)
		return;
	ctx->session = NULL;
	if (session->worker)
		kdec_detach(session);

	kdec_take_back_open(session);
	daemon = session->daemon;
	spin_lock(&daemon->lock);
	list_del(&session->entry);
	if (session->told)
		kdec_post(session, KINORA_DEC_EVENT_CLOSE);
	spin_unlock(&daemon->lock);

	/* The reference of the list and that of the context. */
	kdec_session_put(session);
	kdec_session_put(session);
}

/* Session descriptors */

static bool kdec_worker_may_read(struct kdec_worker *worker)
{
	return READ_ONCE(worker->ready) || READ_ONCE(worker->over);
}

static ssize_t kdec_worker_read(struct file *file, char __user *to,
				size_t count, loff_t *pos)
{
	struct kdec_worker *worker = file->private_data;
	struct kdec_session *session = worker->session;
	struct kdec_context *ctx = session->ctx;
	struct kdec_message *message;
	ssize_t size;
	u64 number;
	int ret;

	for (;;) {
		if (!kdec_worker_may_read(worker) &&
		    file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		ret = wait_event_interruptible(worker->wait,
					       kdec_worker_may_read(worker));
		if (ret)
			return ret;
		mutex_lock(&ctx->lock);
		if (worker->over) {
			mutex_unlock(&ctx->lock);
			return 0;
		}
		/* Somebody else may have read it from the same descriptor. */
		if (worker->ready)
			break;
		mutex_unlock(&ctx->lock);
	}

	message = ctx->message;
	size = message->size;
	if (count < size) {
		mutex_unlock(&ctx->lock);
		return -EMSGSIZE;
	}
	kref_get(&message->ref);
	number = ctx->job.number;
	ctx->job.delivered = true;
	kdec_session_notify(session);
	mutex_unlock(&ctx->lock);

	if (copy_to_user(to, message->bytes, size)) {
		mutex_lock(&ctx->lock);
		if (session->worker == worker && ctx->job.out &&
		    ctx->job.number == number) {
			ctx->job.delivered = false;
			kdec_session_notify(session);
		}
		mutex_unlock(&ctx->lock);
		size = -EFAULT;
	}
	kdec_message_put(message);
	return size;
}

static ssize_t kdec_worker_write(struct file *file, const char __user *from,
				 size_t count, loff_t *pos)
{
	struct kdec_worker *worker = file->private_data;
	struct kdec_session *session = worker->session;
	struct kdec_context *ctx = session->ctx;
	struct kinora_dec_done done;
	ssize_t ret = count;

	if (count != sizeof(done))
		return -EINVAL;
	if (copy_from_user(&done, from, sizeof(done)))
		return -EFAULT;
	if (done.status > KINORA_DEC_STATUS_ERROR || done.reserved)
		return -EINVAL;

	mutex_lock(&ctx->lock);
	if (session->worker != worker || !ctx->job.out ||
	    !ctx->job.delivered || ctx->job.number != done.job) {
		ret = -ECANCELED;
	} else {
		kdec_job_finish(ctx, done.status == KINORA_DEC_STATUS_DONE ?
				VB2_BUF_STATE_DONE : VB2_BUF_STATE_ERROR);
		kdec_schedule(ctx);
	}
	mutex_unlock(&ctx->lock);
	return ret;
}

static __poll_t kdec_worker_poll(struct file *file, poll_table *wait)
{
	struct kdec_worker *worker = file->private_data;
	__poll_t ready = EPOLLOUT | EPOLLWRNORM;

	poll_wait(file, &worker->wait, wait);
	if (READ_ONCE(worker->over))
		ready |= EPOLLIN | EPOLLRDNORM | EPOLLHUP;
	else if (READ_ONCE(worker->ready))
		ready |= EPOLLIN | EPOLLRDNORM;
	return ready;
}

static long kdec_worker_buffer(struct kdec_worker *worker,
			       struct kinora_dec_buffer __user *arg)
{
	struct kdec_session *session = worker->session;
	struct kdec_context *ctx = session->ctx;
	struct kinora_dec_buffer buffer;
	struct dma_buf *dma_buf = ERR_PTR(-ENOENT);
	int fd;

	if (copy_from_user(&buffer, arg, sizeof(buffer)))
		return -EFAULT;
	if (buffer.reserved)
		return -EINVAL;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;

	mutex_lock(&ctx->lock);
	if (session->worker == worker)
		dma_buf = kdec_job_dma_buf(ctx, buffer.index,
					   buffer.generation, &buffer.size);
	mutex_unlock(&ctx->lock);
	if (IS_ERR(dma_buf)) {
		put_unused_fd(fd);
		return PTR_ERR(dma_buf);
	}

	buffer.fd = fd;
	if (copy_to_user(arg, &buffer, sizeof(buffer))) {
		put_unused_fd(fd);
		dma_buf_put(dma_buf);
		return -EFAULT;
	}
	fd_install(fd, dma_buf->file);
	return 0;
}

static long kdec_worker_ioctl(struct file *file, unsigned int cmd,
			      unsigned long arg)
{
	struct kdec_worker *worker = file->private_data;
	struct kdec_context *ctx = worker->session->ctx;
	int size = 0;

	switch (cmd) {
	case KINORA_DEC_IOC_BUFFER:
		return kdec_worker_buffer(worker, (void __user *)arg);
	case FIONREAD:
		mutex_lock(&ctx->lock);
		if (worker->ready)
			size = ctx->message->size;
		mutex_unlock(&ctx->lock);
		return put_user(size, (int __user *)arg);
	default:
		return -ENOTTY;
	}
}

static int kdec_worker_release(struct inode *inode, struct file *file)
{
	struct kdec_worker *worker = file->private_data;
	struct kdec_session *session = worker->session;
	struct kdec_context *ctx = session->ctx;

	mutex_lock(&ctx->lock);
	if (session->worker == worker) {
		session->worker = NULL;
		/* A job that nobody has read yet waits for the next worker. */
		if (ctx->job.out && ctx->job.delivered) {
			kdec_job_finish(ctx, VB2_BUF_STATE_ERROR);
			kdec_schedule(ctx);
		} else {
			kdec_session_notify(session);
		}
	}
	mutex_unlock(&ctx->lock);

	kdec_session_put(session);
	kfree(worker);
	return 0;
}

static const struct file_operations kdec_worker_fops = {
	.owner		= THIS_MODULE,
	.read		= kdec_worker_read,
	.write		= kdec_worker_write,
	.poll		= kdec_worker_poll,
	.unlocked_ioctl	= kdec_worker_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.release	= kdec_worker_release,
	.llseek		= noop_llseek,
};

/* The control device */

static int kdec_control_open(struct inode *inode, struct file *file)
{
	struct kdec_device *kdev = container_of(file->private_data,
						struct kdec_device, misc);
	struct kdec_daemon *daemon;
	bool busy;

	daemon = kzalloc_obj(*daemon);
	if (!daemon)
		return -ENOMEM;
	kref_init(&daemon->ref);
	daemon->kdev = kdev;
	spin_lock_init(&daemon->lock);
	INIT_LIST_HEAD(&daemon->sessions);
	INIT_LIST_HEAD(&daemon->events);
	init_waitqueue_head(&daemon->wait);

	spin_lock(&kdev->daemon_lock);
	busy = kdev->daemon;
	if (!busy)
		kdev->daemon = daemon;
	spin_unlock(&kdev->daemon_lock);
	if (busy) {
		kdec_daemon_put(daemon);
		return -EBUSY;
	}
	file->private_data = daemon;
	return 0;
}

/* The daemon is gone: everything that waits for it fails now. */
static int kdec_control_release(struct inode *inode, struct file *file)
{
	struct kdec_daemon *daemon = file->private_data;
	struct kdec_device *kdev = daemon->kdev;
	struct kdec_session *session, *next;
	struct kdec_context *ctx;
	LIST_HEAD(events);

	spin_lock(&kdev->daemon_lock);
	kdev->daemon = NULL;
	spin_unlock(&kdev->daemon_lock);

	mutex_lock(&kdev->contexts_lock);
	list_for_each_entry(ctx, &kdev->contexts, entry) {
		mutex_lock(&ctx->lock);
		if (ctx->session && ctx->session->daemon == daemon) {
			if (ctx->job.out)
				kdec_job_finish(ctx, VB2_BUF_STATE_ERROR);
			kdec_session_end(ctx);
			kdec_schedule(ctx);
		}
		mutex_unlock(&ctx->lock);
	}
	mutex_unlock(&kdev->contexts_lock);

	/* No session is left that could say anything more. */
	spin_lock(&daemon->lock);
	list_splice_init(&daemon->events, &events);
	spin_unlock(&daemon->lock);
	list_for_each_entry_safe(session, next, &events, event_entry) {
		list_del_init(&session->event_entry);
		kdec_session_put(session);
	}
	kdec_daemon_put(daemon);
	return 0;
}

/* Takes the next event off the list.  Return: whether there was one. */
static bool kdec_take_event(struct kdec_daemon *daemon,
			    struct kinora_dec_event *event)
{
	struct kdec_session *session;
	enum kinora_dec_event_type type;
	bool last;

	spin_lock(&daemon->lock);
	session = list_first_entry_or_null(&daemon->events,
					   struct kdec_session, event_entry);
	if (!session) {
		spin_unlock(&daemon->lock);
		return false;
	}
	/* A hang is always older than what else is to be said. */
	if (session->pending & BIT(KINORA_DEC_EVENT_HUNG))
		type = KINORA_DEC_EVENT_HUNG;
	else if (session->pending & BIT(KINORA_DEC_EVENT_CLOSE))
		type = KINORA_DEC_EVENT_CLOSE;
	else
		type = KINORA_DEC_EVENT_OPEN;
	session->pending &= ~BIT(type);
	session->told = true;
	*event = session->about;
	event->type = type;
	last = !session->pending;
	if (last)
		list_del_init(&session->event_entry);
	spin_unlock(&daemon->lock);

	if (last)
		kdec_session_put(session);
	return true;
}

static bool kdec_has_event(struct kdec_daemon *daemon)
{
	bool has;

	spin_lock(&daemon->lock);
	has = !list_empty(&daemon->events);
	spin_unlock(&daemon->lock);
	return has;
}

static ssize_t kdec_control_read(struct file *file, char __user *to,
				 size_t count, loff_t *pos)
{
	struct kdec_daemon *daemon = file->private_data;
	struct kinora_dec_event event;
	int ret;

	if (count < sizeof(event))
		return -EINVAL;
	while (!kdec_take_event(daemon, &event)) {
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		ret = wait_event_interruptible(daemon->wait,
					       kdec_has_event(daemon));
		if (ret)
			return ret;
	}
	if (copy_to_user(to, &event, sizeof(event)))
		return -EFAULT;
	return sizeof(event);
}

static __poll_t kdec_control_poll(struct file *file, poll_table *wait)
{
	struct kdec_daemon *daemon = file->private_data;

	poll_wait(file, &daemon->wait, wait);
	return kdec_has_event(daemon) ? EPOLLIN | EPOLLRDNORM : 0;
}

static bool kdec_check_sizes(u32 min, u32 *max, u32 step)
{
	if (!min || min > *max || *max > KDEC_SIZE_MAX ||
	    !step || step > KDEC_SIZE_MAX)
		return false;
	*max -= (*max - min) % step;
	return true;
}

static int kdec_check_row(const struct kdec_formats *formats, unsigned int n,
			  struct kinora_dec_format *row)
{
	unsigned int i;

	if (!kdec_find_codec(row->coded) || !kdec_find_raw(row->raw) ||
	    memchr_inv(row->reserved, 0, sizeof(row->reserved)) ||
	    !kdec_check_sizes(row->min_width, &row->max_width,
			      row->step_width) ||
	    !kdec_check_sizes(row->min_height, &row->max_height,
			      row->step_height))
		return -EINVAL;

	for (i = 0; i < n; i++) {
		if (formats->rows[i].coded == row->coded &&
		    formats->rows[i].raw == row->raw)
			return -EINVAL;
	}
	return 0;
}

static long kdec_control_advertise(struct kdec_daemon *daemon,
				   struct kinora_dec_advertise __user *arg)
{
	struct kdec_device *kdev = daemon->kdev;
	struct kdec_formats *formats;
	u32 abi, count;
	unsigned int i;
	size_t size;
	int ret = 0;

	if (get_user(abi, &arg->abi) || get_user(count, &arg->count))
		return -EFAULT;
	if (abi != KINORA_DEC_ABI)
		return -EPROTO;
	if (!count || count > KINORA_DEC_MAX_FORMATS)
		return -EINVAL;

	size = count * sizeof(formats->rows[0]);
	formats = kzalloc(sizeof(*formats) + size, GFP_KERNEL);
	if (!formats)
		return -ENOMEM;
	kref_init(&formats->ref);
	formats->count = count;
	if (copy_from_user(formats->rows, arg->formats, size))
		ret = -EFAULT;
	for (i = 0; !ret && i < count; i++)
		ret = kdec_check_row(formats, i, &formats->rows[i]);

	spin_lock(&kdev->daemon_lock);
	if (!ret && daemon->formats)
		ret = -EBUSY;
	if (!ret)
		daemon->formats = formats;
	spin_unlock(&kdev->daemon_lock);
	if (ret)
		kdec_formats_put(formats);
	return ret;
}

static struct kdec_session *kdec_session_by_number(struct kdec_daemon *daemon,
						   u64 number)
{
	struct kdec_session *session, *found = NULL;

	spin_lock(&daemon->lock);
	list_for_each_entry(session, &daemon->sessions, entry) {
		if (session->number == number) {
			kref_get(&session->ref);
			found = session;
			break;
		}
	}
	spin_unlock(&daemon->lock);
	return found;
}

static int kdec_attach(struct kdec_session *session, struct kdec_worker *worker)
{
	struct kdec_context *ctx = session->ctx;
	int ret = 0;

	mutex_lock(&ctx->lock);
	if (ctx->session != session) {
		ret = -ENOENT;
	} else if (session->worker) {
		ret = -EBUSY;
	} else {
		session->worker = worker;
		session->silent = false;
		kdec_take_back_open(session);
		kdec_session_notify(session);
	}
	mutex_unlock(&ctx->lock);
	return ret;
}

static long kdec_control_attach(struct kdec_daemon *daemon,
				struct kinora_dec_attach __user *arg)
{
	struct kinora_dec_attach attach;
	struct kdec_session *session;
	struct kdec_worker *worker;
	struct file *file;
	int fd, ret;

	if (copy_from_user(&attach, arg, sizeof(attach)))
		return -EFAULT;
	if (attach.reserved)
		return -EINVAL;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;

	session = kdec_session_by_number(daemon, attach.session);
	if (!session) {
		ret = -ENOENT;
		goto put_fd;
	}
	worker = kzalloc_obj(*worker);
	if (!worker) {
		ret = -ENOMEM;
		goto put_session;
	}
	worker->session = session;
	init_waitqueue_head(&worker->wait);
	file = anon_inode_getfile("[kinora-dec]", &kdec_worker_fops, worker,
				  O_RDWR);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		kfree(worker);
		goto put_session;
	}

	/* From here on the release of the file gives everything back. */
	ret = kdec_attach(session, worker);
	attach.fd = fd;
	if (!ret && copy_to_user(arg, &attach, sizeof(attach)))
		ret = -EFAULT;
	if (ret) {
		fput(file);
		goto put_fd;
	}
	fd_install(fd, file);
	return 0;

put_session:
	kdec_session_put(session);
put_fd:
	put_unused_fd(fd);
	return ret;
}

static long kdec_control_ioctl(struct file *file, unsigned int cmd,
			       unsigned long arg)
{
	struct kdec_daemon *daemon = file->private_data;

	switch (cmd) {
	case KINORA_DEC_IOC_ADVERTISE:
		return kdec_control_advertise(daemon, (void __user *)arg);
	case KINORA_DEC_IOC_ATTACH:
		return kdec_control_attach(daemon, (void __user *)arg);
	default:
		return -ENOTTY;
	}
}

const struct file_operations kdec_control_fops = {
	.owner		= THIS_MODULE,
	.open		= kdec_control_open,
	.read		= kdec_control_read,
	.poll		= kdec_control_poll,
	.unlocked_ioctl	= kdec_control_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.release	= kdec_control_release,
	.llseek		= noop_llseek,
};
