// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Does what no module may do, so that `cargo xtask vm check` sees whether the test machines notice:
 * insmod faults.ko fault=NAME
 */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *fault = "";
module_param(fault, charp, 0);
MODULE_PARM_DESC(fault, "what to do wrong: the names are in the table of faults.c");

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin);

static void warn(void)
{
	WARN(1, "as asked for\n");
}

static void die(void)
{
	panic("as asked for");
}

static void oops(void)
{
	int *volatile nowhere = NULL;

	*nowhere = 1;
}

static void use_after_free(void)
{
	char *volatile freed = kmalloc(64, GFP_KERNEL);

	kfree(freed);
	freed[8] = 1;
}

static void out_of_bounds(void)
{
	char *volatile small = kmalloc(40, GFP_KERNEL);

	small[40] = 1;
	kfree(small);
}

static void sleep_in_atomic(void)
{
	spin_lock(&spin);
	/* Nobody holds it, but somebody might. */
	mutex_lock(&first);
	mutex_unlock(&first);
	spin_unlock(&spin);
}

static void lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static void hang(void)
{
	mutex_lock(&first);
	/* A second time: for ever, and no signal helps. */
	mutex_lock(&first);
}

static const struct {
	const char *name;
	void (*do_it)(void);
} faults[] = {
	{ "warn", warn },
	{ "panic", die },
	{ "oops", oops },
	{ "use-after-free", use_after_free },
	{ "out-of-bounds", out_of_bounds },
	{ "sleep-in-atomic", sleep_in_atomic },
	{ "lock-order", lock_order },
	{ "hang", hang },
};

static int __init faults_init(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		if (!strcmp(faults[i].name, fault)) {
			faults[i].do_it();
			return 0;
		}
	}
	return -EINVAL;
}

static void __exit faults_exit(void)
{
}

module_init(faults_init);
module_exit(faults_exit);

MODULE_DESCRIPTION("Faults for the test machines to notice");
MODULE_LICENSE("Dual MIT/GPL");
