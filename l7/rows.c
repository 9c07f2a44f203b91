// SPDX-License-Identifier: BSD-2-Clause
/* Rows and the TAP of held packets (l7/rows.h). */
#include "l7/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "flow.skel.h"
#include "lb/packet.h"

#define LINKS_MAX 64
#define HANDLE 1
#define FRAME_MAX 65550

struct held {
	struct held *next;
	uint64_t at_ms;
	uint32_t len;
	uint8_t frame[];
};

/* A flow's waiting packets, oldest first. */
struct queue {
	struct queue *next;
	struct flow flow;
	struct held *head, **tail;
	uint32_t packets, bytes;
};

#define BUCKETS 1024

struct rows {
	struct flow_bpf *skel;
	int tap;
	char tap_name[IF_NAMESIZE];
	uint8_t mac[6]; /* of the TAP, and of the first link */
	char link[LINKS_MAX][IF_NAMESIZE];
	size_t n_links;
	char pin_dir[256];
	struct queue *bucket[BUCKETS];
	struct rows_counts counts;
	uint8_t frame[FRAME_MAX];
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- The TAP ------------------------------------------------------------------------------------------------ */

static int set_flags(int s, const char *name, short flags)
{
	struct ifreq ifr = { .ifr_flags = 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(s, SIOCGIFFLAGS, &ifr))
		return -errno;
	ifr.ifr_flags |= flags;
	return ioctl(s, SIOCSIFFLAGS, &ifr) ? -errno : 0;
}

/* It has the link's address and MTU: a released packet is addressed to us, and as long as it was. */
static int dress_tap(struct rows *r)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;
	struct ifreq ifr = { .ifr_flags = 0 };

	if (s < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", r->link[0]);
	if (ioctl(s, SIOCGIFHWADDR, &ifr))
		err = -errno;
	memcpy(r->mac, ifr.ifr_hwaddr.sa_data, sizeof(r->mac));
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", r->tap_name);
	ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	if (!err && ioctl(s, SIOCSIFHWADDR, &ifr))
		err = -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", r->link[0]);
	if (!err && ioctl(s, SIOCGIFMTU, &ifr))
		err = -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", r->tap_name);
	if (!err && ioctl(s, SIOCSIFMTU, &ifr))
		err = -errno;
	if (!err)
		err = set_flags(s, r->tap_name, IFF_UP);
	close(s);
	return err;
}

static int open_tap(struct rows *r)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };

	r->tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (r->tap < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "baton-held%%d");
	if (ioctl(r->tap, TUNSETIFF, &ifr))
		return -errno;
	memcpy(r->tap_name, ifr.ifr_name, sizeof(r->tap_name));
	return dress_tap(r);
}

/* --- Programs ------------------------------------------------------------------------------------------------- */

static int hook_on(const char *ifname, enum bpf_tc_attach_point point, int prog)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE, .priority = ROWS_PRIORITY, .flags = BPF_TC_F_REPLACE);
	libbpf_print_fn_t print;
	int err;

	hook.ifindex = (int)if_nametoindex(ifname);
	if (!hook.ifindex)
		return -ENODEV;
	print = libbpf_set_print(NULL); /* it complains of a hook that is there already */
	err = bpf_tc_hook_create(&hook);
	libbpf_set_print(print);
	if (err && err != -EEXIST)
		return err;
	hook.attach_point = point;
	opts.prog_fd = prog;
	return bpf_tc_attach(&hook, &opts);
}

static void hook_off(const char *ifname, enum bpf_tc_attach_point point)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = point);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = HANDLE, .priority = ROWS_PRIORITY);

	hook.ifindex = (int)if_nametoindex(ifname);
	if (hook.ifindex)
		bpf_tc_detach(&hook, &opts);
}

static int attach_all(struct rows *r)
{
	int in = bpf_program__fd(r->skel->progs.flow_ingress), out = bpf_program__fd(r->skel->progs.flow_egress), err;
	size_t i;

	err = hook_on(r->tap_name, BPF_TC_INGRESS, in);
	for (i = 0; i < r->n_links && !err; i++) {
		err = hook_on(r->link[i], BPF_TC_INGRESS, in);
		if (!err)
			err = hook_on(r->link[i], BPF_TC_EGRESS, out);
	}
	return err;
}

static int load(struct rows *r)
{
	char path[320];
	int err;

	r->skel = flow_bpf__open();
	if (!r->skel)
		return -errno;
	snprintf(path, sizeof(path), "%s/rows", r->pin_dir);
	err = bpf_map__set_pin_path(r->skel->maps.rows, path);
	snprintf(path, sizeof(path), "%s/flow_counts", r->pin_dir);
	if (!err)
		err = bpf_map__set_pin_path(r->skel->maps.flow_counts, path);
	return err ? err : flow_bpf__load(r->skel);
}

static int configure(struct rows *r, uint16_t self)
{
	struct flow_config c = { .tap = if_nametoindex(r->tap_name), .link = if_nametoindex(r->link[0]), .self = self };
	uint32_t zero = 0;

	return bpf_map__update_elem(r->skel->maps.flow_config, &zero, sizeof(zero), &c, sizeof(c), BPF_ANY);
}

int rows_open(uint16_t self, const char *pin_dir, const char (*link)[IF_NAMESIZE], size_t n_links, struct rows **out,
	      char *why, size_t why_len)
{
	struct rows *r = calloc(1, sizeof(*r));
	const char *what = "memory";
	int err = -ENOMEM;

	if (!r)
		goto fail;
	r->tap = -1;
	err = -EINVAL;
	what = "the links or the pin directory";
	if (!n_links || n_links > LINKS_MAX || strlen(pin_dir) >= sizeof(r->pin_dir))
		goto fail;
	memcpy(r->pin_dir, pin_dir, strlen(pin_dir) + 1);
	memcpy(r->link, link, n_links * sizeof(*link));
	r->n_links = n_links;
	what = "the pin directory";
	err = mkdir(pin_dir, 0700) && errno != EEXIST ? -errno : 0;
	if (err)
		goto fail;
	what = "the eBPF programs (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, a bpffs at the pin directory)";
	if ((err = load(r)))
		goto fail;
	what = "the TAP (CAP_NET_ADMIN, /dev/net/tun)";
	if ((err = open_tap(r)))
		goto fail;
	what = "the links' TC hooks";
	if ((err = configure(r, self)) || (err = attach_all(r)))
		goto fail;
	*out = r;
	return 0;
fail:
	snprintf(why, why_len, "rows of hand-off: %s: %s", what, strerror(-err));
	if (r)
		rows_close(r, true);
	return err;
}

static void free_queue(struct rows *r, struct queue **at);

void rows_close(struct rows *r, bool take_off)
{
	static const enum bpf_tc_attach_point points[] = { BPF_TC_INGRESS, BPF_TC_EGRESS };
	size_t i;

	for (i = 0; i < BUCKETS; i++)
		while (r->bucket[i])
			free_queue(r, &r->bucket[i]);
	for (i = 0; take_off && i < 2 * r->n_links; i++)
		hook_off(r->link[i / 2], points[i % 2]);
	if (take_off && r->skel) {
		bpf_map__unpin(r->skel->maps.rows, NULL);
		bpf_map__unpin(r->skel->maps.flow_counts, NULL);
		rmdir(r->pin_dir);
	}
	if (r->tap >= 0)
		close(r->tap);
	flow_bpf__destroy(r->skel);
	free(r);
}

/* --- Rows ------------------------------------------------------------------------------------------------------ */

int rows_put(struct rows *r, const struct flow *f, const struct row *row)
{
	return bpf_map_update_elem(bpf_map__fd(r->skel->maps.rows), f, row, BPF_ANY);
}

int rows_get(struct rows *r, const struct flow *f, struct row *row)
{
	return bpf_map_lookup_elem(bpf_map__fd(r->skel->maps.rows), f, row);
}

int rows_delete(struct rows *r, const struct flow *f)
{
	return bpf_map_delete_elem(bpf_map__fd(r->skel->maps.rows), f);
}

/* --- Held packets ------------------------------------------------------------------------------------------------ */

static struct queue **find(struct rows *r, const struct flow *f)
{
	struct queue **q = &r->bucket[flow_hash(f, 0) % BUCKETS];

	while (*q && memcmp(&(*q)->flow, f, sizeof(*f)))
		q = &(*q)->next;
	return q;
}

static void forget(struct rows *r, struct queue *q, struct held *h)
{
	q->head = h->next;
	if (!q->head)
		q->tail = &q->head;
	q->packets--;
	q->bytes -= h->len;
	r->counts.waiting--;
	r->counts.waiting_bytes -= h->len;
	free(h);
}

static void free_queue(struct rows *r, struct queue **at)
{
	struct queue *q = *at;

	while (q->head) {
		r->counts.dropped++;
		forget(r, q, q->head);
	}
	*at = q->next;
	free(q);
}

static void hold(struct rows *r, const struct flow *f, const uint8_t *frame, uint32_t len, uint64_t now_ms)
{
	struct queue **at = find(r, f), *q = *at;
	struct held *h;

	if (!q) {
		q = calloc(1, sizeof(*q));
		if (!q)
			goto drop;
		q->flow = *f;
		q->tail = &q->head;
		*at = q;
	}
	if (q->packets >= ROWS_FLOW_PACKETS_MAX || q->bytes + len > ROWS_FLOW_BYTES_MAX ||
	    r->counts.waiting_bytes + len > ROWS_HOST_BYTES_MAX)
		goto drop;
	h = malloc(sizeof(*h) + len);
	if (!h)
		goto drop;
	h->next = NULL;
	h->at_ms = now_ms;
	h->len = len;
	memcpy(h->frame, frame, len);
	*q->tail = h;
	q->tail = &h->next;
	q->packets++;
	q->bytes += len;
	r->counts.waiting++;
	r->counts.waiting_bytes += len;
	return;
drop:
	r->counts.dropped++;
}

/* Out of the TAP it meets flow_ingress again: the row decides where to.  It may have come to another of our vMACs, which
 * the stack would take for somebody else's. */
static void inject(struct rows *r, uint8_t *frame, uint32_t len)
{
	memcpy(frame, r->mac, sizeof(r->mac));
	if (write(r->tap, frame, len) == (ssize_t)len)
		r->counts.released++;
	else
		r->counts.dropped++;
}

void rows_inject(struct rows *r, uint8_t *frame, size_t len)
{
	inject(r, frame, (uint32_t)len);
}

static bool is_held(struct rows *r, const struct flow *f)
{
	struct row row;

	return !rows_get(r, f, &row) && row.state == ROW_HOLD && (!row.deadline_ns || now_ns() < row.deadline_ns);
}

void rows_poll(struct rows *r, uint64_t now_ms)
{
	struct packet_source s;
	struct packet p;
	ssize_t n;

	while ((n = read(r->tap, r->frame, sizeof(r->frame))) > 0) {
		s = (struct packet_source){ r->frame, (uint32_t)n };
		if (packet_parse(&s, (uint32_t)n, &p) != PACKET_OK || p.flow.protocol != PACKET_TCP)
			continue; /* the stack's own chatter on the device */
		if (is_held(r, &p.flow)) {
			hold(r, &p.flow, r->frame, (uint32_t)n, now_ms);
		} else {
			r->counts.late++;
			inject(r, r->frame, (uint32_t)n);
		}
	}
}

void rows_release(struct rows *r, const struct flow *f)
{
	struct queue **at = find(r, f);

	if (!*at)
		return;
	while ((*at)->head) {
		inject(r, (*at)->head->frame, (*at)->head->len);
		forget(r, *at, (*at)->head);
	}
	free_queue(r, at);
}

void rows_drop(struct rows *r, const struct flow *f)
{
	struct queue **at = find(r, f);

	if (*at)
		free_queue(r, at);
}

void rows_age(struct rows *r, uint64_t now_ms)
{
	struct queue **at;
	size_t i;

	for (i = 0; i < BUCKETS; i++) {
		for (at = &r->bucket[i]; *at;) {
			struct queue *q = *at;

			while (q->head && q->head->at_ms + ROWS_AGE_MAX_MS < now_ms) {
				r->counts.dropped++;
				forget(r, q, q->head);
			}
			if (q->head)
				at = &q->next;
			else
				free_queue(r, at);
		}
	}
}

int rows_fd(const struct rows *r)
{
	return r->tap;
}

int rows_counts(struct rows *r, struct rows_counts *out)
{
	int cpus = libbpf_num_possible_cpus(), cpu, err = 0;
	uint64_t *n = calloc((size_t)cpus, sizeof(*n));
	uint32_t i;

	if (!n)
		return -ENOMEM;
	*out = r->counts;
	for (i = 0; i < FLOW_COUNTS && !err; i++) {
		err = bpf_map_lookup_elem(bpf_map__fd(r->skel->maps.flow_counts), &i, n);
		for (cpu = 0; cpu < cpus && !err; cpu++)
			out->kernel[i] += n[cpu];
	}
	free(n);
	return err;
}
