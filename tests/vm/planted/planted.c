// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Bugs on purpose, one for each detector of tests/vm/kasan: a run without reports means something only if these are
 * reported.  bug=uaf reads freed memory, bug=order takes two locks in both orders, bug=leak forgets an allocation.
 */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>

static char *bug = "";
module_param(bug, charp, 0);
MODULE_PARM_DESC(bug, "uaf, order or leak");

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);

static void use_after_free(void)
{
	char *p = kmalloc(64, GFP_KERNEL);
	char seen;

	if (!p)
		return;
	kfree(p);
	OPTIMIZER_HIDE_VAR(p);
	seen = READ_ONCE(p[8]);
	pr_info("planted: read %d\n", seen);
}

static void both_orders(void)
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

static void leak(void)
{
	int i;

	/* Several, since a stale register or stack slot may still point to the last one. */
	for (i = 0; i < 10; i++) {
		char *p = kmalloc(1000, GFP_KERNEL);

		OPTIMIZER_HIDE_VAR(p);
	}
}

static int __init planted_init(void)
{
	if (!strcmp(bug, "uaf"))
		use_after_free();
	else if (!strcmp(bug, "order"))
		both_orders();
	else if (!strcmp(bug, "leak"))
		leak();
	return 0;
}

static void __exit planted_exit(void)
{
}

module_init(planted_init);
module_exit(planted_exit);

MODULE_DESCRIPTION("Bugs on purpose");
MODULE_LICENSE("Dual BSD/GPL");
