/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the view to the machine.  Everything is read back and compared, so this may be called as often
 * as anything may have changed: by the log, by the kernel, or by the clock.  An index is acknowledged
 * once NIC filters, VIPs and data path hold it; until then the controller does not go on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/host.h"
#include "agent/sysctls.h"
#include "agent/vips.h"
#include "base/log.h"

#define BPFFS "/sys/fs/bpf"
#define PIN_DIR BPFFS "/baton" /* BATON_PIN_DIR overrides it: several hosts of a test share a machine */

static void links_wanted(const struct host *h, const struct view *v, const struct host_conf *conf, struct links_want *w)
{
	memset(w, 0, sizeof(*w));
	w->self = h->self;
	w->protocol = v->pop->route_protocol;
	w->filters = &h->filters;
	for (uint32_t i = 0; i < conf->n_links && w->n_links < POP_SWITCHES_MAX; i++) {
		struct link_want *l = &w->link[w->n_links++];

		memcpy(l->ifname, conf->link[i].ifname, sizeof(l->ifname));
		l->switch_id = conf->link[i].switch_id;
		l->in_service = v->switch_admin[l->switch_id] == ADMIN_IN;
	}
}

struct devices {
	char ifname[POP_SWITCHES_MAX][IF_NAMESIZE];
	size_t n;
};

static void pin_dir_of(const struct view *v, const struct host_conf *conf, char dir[256])
{
	const char *base = getenv("BATON_PIN_DIR");

	/* Not a refusal: the directory that is missing is named by what fails next. */
	(void)mkdir(base ? base : PIN_DIR, 0700);
	snprintf(dir, 256, "%s/%s-%s", base ? base : PIN_DIR, v->pop->name, conf->name);
}

static int fill_sets(const struct datapath_ops *ops, struct datapath *d, const struct view *v)
{
	uint16_t id[HOST_ID_MAX];
	size_t n = 0;
	int err;

	for (uint32_t i = 0; i < v->pop->n_hosts; i++)
		if (!host_is_elsewhere(&v->pop->host[i])) /* copies go by the links */
			id[n++] = v->pop->host[i].id;
	err = ops->set_vips(d, v->pop->vip, v->pop->n_vips);
	return err ? err : ops->set_hosts(d, id, n);
}

static int put_on(const struct datapath_ops *ops, struct datapath *d, const struct devices *dev)
{
	return ops->set_devices(d, (const char(*)[IF_NAMESIZE])dev->ifname, dev->n);
}

static int refused(int err, char *why, size_t why_len)
{
	if (err)
		snprintf(why, why_len, "the data path does not take its VIPs, hosts or devices: %s", strerror(-err));
	return err;
}

static int fill(const struct datapath_ops *ops, struct datapath *d, const struct view *v, const struct devices *dev, char *why,
		size_t why_len)
{
	int err = fill_sets(ops, d, v);

	return refused(err ? err : put_on(ops, d, dev), why, why_len);
}

static void use(struct host *h, const struct datapath_ops *ops, struct datapath *d)
{
	h->ops = ops;
	h->datapath = d;
	h->datapath_lost = false;
	/* What a proof watches, it watches here from now on: an answer to its probes must not be taken for a stray segment. */
	if (h->proof)
		proof_rewatch(h->proof);
}

/*
 * The other data path takes over: it knows all that the first one knows before it is on the devices, and is on
 * them before the first one is taken off; both judge alike.  The old one stays where the new one cannot be had.
 */
static int swap_datapath(struct host *h, const struct view *v, const struct host_conf *conf, const char *pin_dir,
			 const struct devices *dev, char *why, size_t why_len)
{
	const struct datapath_ops *ops, *old_ops = h->ops;
	struct datapath *d = NULL, *old = h->datapath;
	int err;

	ops = datapath_open(conf->datapath, h->self, pin_dir, why, why_len, &d);
	if (!ops)
		return -ENOTSUP;
	err = ops->set_detours(d, !h->detours_off);
	if (!err)
		err = fill_sets(ops, d, v);
	if (!err) {
		host_read_counters(h); /* the times of the old one's last detours stand */
		use(h, ops, d);
		err = put_on(ops, d, dev);
	}
	if (err) {
		use(h, old_ops, old);
		ops->close(d, true);
		return refused(err, why, why_len);
	}
	old_ops->close(old, true);
	log_notice("data path: %s instead of %s", ops->name, old_ops->name);
	return 0;
}

/* The module was unloaded.  What can be had is opened as at the start; asking for the module loads it, if it is installed. */
static void forget_lost_datapath(struct host *h)
{
	if (!h->datapath_lost)
		return;
	log_error("data path: the %s is gone, with all it held; who unloads it while it is in use breaks connections", h->ops->name);
	if (h->proof && proof_running(h->proof))
		proof_stop(h->proof);
	h->ops->close(h->datapath, false);
	h->ops = NULL;
	h->datapath = NULL;
	h->datapath_lost = false;
}

static int datapath_install(struct host *h, const struct view *v, const struct host_conf *conf, const char *pin_dir, char *why,
			    size_t why_len)
{
	struct devices dev = { .n = 0 };
	int err;

	forget_lost_datapath(h);
	for (size_t i = 0; i < h->links.n; i++)
		if (h->links.link[i].ifindex)
			memcpy(dev.ifname[dev.n++], h->links.link[i].ifname, IF_NAMESIZE);
	if (h->datapath && !datapath_fits(conf->datapath, h->ops)) {
		char ignored[128];

		err = swap_datapath(h, v, conf, pin_dir, &dev, why, why_len);
		if (err) /* the one that stays follows the rest of the configuration meanwhile */
			(void)fill(h->ops, h->datapath, v, &dev, ignored, sizeof(ignored));
	} else {
		if (!h->datapath) {
			h->ops = datapath_open(conf->datapath, h->self, pin_dir, why, why_len, &h->datapath);
			if (!h->ops)
				return -ENOTSUP;
			h->datapath_new = true;
			if (h->detours_off)
				(void)h->ops->set_detours(h->datapath, false);
		}
		err = fill(h->ops, h->datapath, v, &dev, why, why_len);
		if (h->datapath_new && !err) { /* with the first try or, where a link was missing, with a later one */
			h->datapath_new = false;
			datapath_take_off_other(h->ops, h->self, pin_dir, (const char(*)[IF_NAMESIZE])dev.ifname, dev.n);
			if (h->proof)
				host_proof_update(h, v, VIEW_POP);
			log_notice("data path: %s", h->ops->name);
		}
	}
	for (size_t i = 0; i < h->links.n && !err; i++)
		h->attached[i] = h->links.link[i].ifindex;
	h->n_attached = err ? 0 : h->links.n;
	return err;
}

/* An interface that was taken away and came back has the same name, but no data path on it. */
static bool devices_changed(const struct host *h)
{
	if (h->n_attached != h->links.n || h->datapath_lost)
		return true;
	for (size_t i = 0; i < h->links.n; i++)
		if (h->attached[i] != h->links.link[i].ifindex)
			return true;
	return false;
}

static void say_new_alarms(const struct host *h, const struct alarms *before)
{
	for (size_t i = 0; i < h->alarms.n; i++) {
		bool old = false;

		for (size_t j = 0; j < before->n && !old; j++)
			old = !strcmp(before->text[j], h->alarms.text[i]);
		if (!old)
			log_warning("%s", h->alarms.text[i]);
	}
}

/* Elsewhere no frame of a switch's comes, so there is nothing to judge; packets inside IP are the rows' (l7/row/flow.h). */
static void elsewhere_apply(const struct host_conf *conf, struct alarms *alarms)
{
	for (uint32_t i = 0; i < conf->n_elsewhere; i++) {
		if (if_nametoindex(conf->elsewhere[i]))
			sysctls_elsewhere(conf->elsewhere[i], alarms);
		else
			alarm_add(alarms, "there is no interface %s: what clients' connections send by it cannot be moved; correct "
					  "hosts.elsewhere in pop.yaml", conf->elsewhere[i]);
	}
}

static int install(struct host *h, const struct view *v, const struct host_conf *conf, unsigned what, char *why,
		   size_t why_len)
{
	struct links_want want;
	char pin_dir[256];
	int err, result = 0;

	if (what & VIEW_POP && (vipset_build(&h->vips, v->pop) || server_set_build(&h->servers, v->pop, h->self))) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	pin_dir_of(v, conf, pin_dir);
	snprintf(h->rows_dir, sizeof(h->rows_dir), "%s-rows", pin_dir);
	links_wanted(h, v, conf, &want);
	elsewhere_apply(conf, &h->alarms);
	result = links_apply(h->rtnl, &want, &h->links, &h->alarms);
	err = vips_apply(h->rtnl, v->pop->route_protocol, v->pop->vip, v->pop->n_vips, &h->alarms);
	result = result ? result : err;
	if (result)
		snprintf(why, why_len, "%.250s", h->alarms.n ? h->alarms.text[h->alarms.n - 1] : strerror(-result));
	if (!host_is_elsewhere(conf) && (what & VIEW_POP || !h->datapath || devices_changed(h))) {
		char text[256] = "";

		err = datapath_install(h, v, conf, pin_dir, text, sizeof(text));
		if (err) {
			alarm_add(&h->alarms, "%.250s", text);
			snprintf(why, why_len, "%.250s", text);
			result = err;
		}
	}
	return result;
}

static bool same_filters(const struct filters *a, const struct filters *b)
{
	return a->n == b->n && a->overflow == b->overflow && !memcmp(a->mac, b->mac, a->n * sizeof(a->mac[0]));
}

void host_install(struct host *h, const struct view *v, unsigned what)
{
	const struct host_conf *conf = pop_host(v->pop, h->self);
	struct alarms before = h->alarms;
	char why[ALARM_LEN] = "";
	int err = -ENOENT;

	/* What an earlier attempt could not do is done with the next one. */
	if (h->failed)
		what |= VIEW_POP | VIEW_TABLE;
	if (what & (VIEW_POP | VIEW_TABLE)) {
		struct filters had = h->filters;

		filters_needed(&h->filters, v->table, h->self);
		/* Of a table a host needs nothing but its filters: a drain elsewhere is not worth reading the kernel. */
		if (what == VIEW_TABLE && h->installed && same_filters(&had, &h->filters)) {
			follower_ack(h->follower, v->index);
			h->installed = v->index;
			return;
		}
	}
	h->alarms.n = 0;
	if (conf)
		err = install(h, v, conf, what, why, sizeof(why));
	else
		snprintf(why, sizeof(why), "host %u is not in the configuration in force; baton apply", h->self);
	if (h->list_why[0])
		alarm_add(&h->alarms, "%s", h->list_why);
	if (h->detours_off)
		alarm_add(&h->alarms, "detours are off: a drain breaks connections");
	if (err) {
		alarm_add(&h->alarms, "%s", why);
		if (h->failed != v->index)
			follower_fail(h->follower, v->index, why);
		h->failed = v->index;
	} else {
		h->failed = 0;
		if (h->installed != v->index)
			follower_ack(h->follower, v->index);
		h->installed = v->index;
	}
	say_new_alarms(h, &before);
}
