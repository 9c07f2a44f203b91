// SPDX-License-Identifier: BSD-2-Clause
/* Rows and the TAP of held packets (l7/row/rows.h). */
#include "l7/row/rows_private.h"

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
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "flow.skel.h"
#include "lb/packet.h"

#define POLL_MAX 4096 /* frames at a time */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- The TAP ------------------------------------------------------------------------------------------------ */

/* As it must be: 0 or -errno; written only where it is not so already. */
static int sysctl_zero(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	char now = 0;

	if (fd < 0)
		return -errno;
	if (read(fd, &now, 1) != 1)
		err = -EIO;
	close(fd);
	if (err || now == '0')
		return err;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, "0", 1) != 1)
		err = -EIO;
	close(fd);
	return err;
}

/* Packets come out of it that came by another link; nothing else may. */
static int set_sysctls(const struct rows *r)
{
	static const char *const zero[][2] = { { "ipv4", "rp_filter" }, { "ipv6", "disable_ipv6" } };
	char path[128];
	int err = 0;
	size_t i;

	for (i = 0; i < sizeof(zero) / sizeof(*zero) && !err; i++) {
		snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", zero[i][0], r->tap_name, zero[i][1]);
		err = sysctl_zero(path);
		if (err == -ENOENT && zero[i][0][3] == '6') /* a kernel without IPv6 */
			err = 0;
	}
	return err;
}

/* It has our address and the link's MTU: a released packet is addressed to us, and as long as it was. */
static int dress_tap(struct rows *r)
{
	struct triple self = { { r->config.self } };
	struct ifreq ifr = { .ifr_flags = 0 };

	vmac_encode(r->mac, &self);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", r->link[0]);
	if (ioctl(r->ioctls, SIOCGIFMTU, &ifr))
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", r->tap_name);
	if (ioctl(r->ioctls, SIOCSIFMTU, &ifr))
		return -errno;
	ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(ifr.ifr_hwaddr.sa_data, r->mac, sizeof(r->mac));
	if (ioctl(r->ioctls, SIOCSIFHWADDR, &ifr) || ioctl(r->ioctls, SIOCGIFFLAGS, &ifr))
		return -errno;
	ifr.ifr_flags |= IFF_UP;
	return ioctl(r->ioctls, SIOCSIFFLAGS, &ifr) ? -errno : 0;
}

static int open_tap(struct rows *r)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int err;

	r->tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	r->ioctls = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (r->tap < 0 || r->ioctls < 0 || r->timer < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "baton-held%%d");
	if (ioctl(r->tap, TUNSETIFF, &ifr))
		return -errno;
	memcpy(r->tap_name, ifr.ifr_name, sizeof(r->tap_name));
	r->config.tap = if_nametoindex(r->tap_name);
	err = set_sysctls(r);
	return err ? err : dress_tap(r);
}

/* --- Maps and programs -------------------------------------------------------------------------------------------- */

static const char *const pin_name[] = { "rows", "flow_counts", "flow_peers", "flow_from" };
#define N_PINS (sizeof(pin_name) / sizeof(*pin_name))

static void unpin(const struct rows *r)
{
	char path[320];
	size_t i;

	for (i = 0; i < N_PINS; i++) {
		snprintf(path, sizeof(path), "%s/%s", r->pin_dir, pin_name[i]);
		unlink(path);
	}
}

static int load_onto_pins(struct rows *r)
{
	struct bpf_map *map[N_PINS];
	char path[320];
	int err = 0;
	size_t i;

	r->skel = flow_bpf__open();
	if (!r->skel)
		return -errno;
	map[0] = r->skel->maps.rows;
	map[1] = r->skel->maps.flow_counts;
	map[2] = r->skel->maps.flow_peers;
	map[3] = r->skel->maps.flow_from;
	for (i = 0; i < N_PINS && !err; i++) {
		snprintf(path, sizeof(path), "%s/%s", r->pin_dir, pin_name[i]);
		err = bpf_map__set_pin_path(map[i], path);
	}
	return err ? err : flow_bpf__load(r->skel);
}

/* Pins of another version's shapes are given up, and the rows in them. */
static int load(struct rows *r)
{
	int err = load_onto_pins(r);

	if (err != -EINVAL || !r->skel)
		return err;
	unpin(r);
	flow_bpf__destroy(r->skel);
	return load_onto_pins(r);
}

/* Those of the process before stay until rows_set_peers() says otherwise. */
static bool has_peers(const struct rows *r)
{
	uint32_t host;

	return !bpf_map_get_next_key(bpf_map__fd(r->skel->maps.flow_peers), NULL, &host);
}

int rows_put_config(struct rows *r)
{
	uint32_t zero = 0;

	return bpf_map__update_elem(r->skel->maps.flow_config, &zero, sizeof(zero), &r->config, sizeof(r->config), BPF_ANY);
}

int rows_open(uint16_t self, const char *pin_dir, const char (*link)[IF_NAMESIZE], size_t n_links, struct rows **out,
	      char *why, size_t why_len)
{
	struct rows *r = calloc(1, sizeof(*r));
	const char *what = "memory";
	int err = -ENOMEM;

	if (!r)
		goto fail;
	r->tap = r->ioctls = r->timer = -1;
	r->settling_end = &r->settling;
	r->held = held_new();
	if (!r->held)
		goto fail;
	err = -EINVAL;
	what = "the host's id, the links or the pin directory";
	if (!host_id_valid(self) || !n_links || n_links > ROWS_LINKS_MAX || strlen(pin_dir) >= sizeof(r->pin_dir))
		goto fail;
	r->config.self = self;
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
	rows_choose_link(r);
	r->config.tunnel = has_peers(r);
	if ((err = rows_put_config(r)) || (err = rows_hook_on(r, r->tap_name)) ||
	    (err = rows_attach_links(r)))
		goto fail;
	*out = r;
	return 0;
fail:
	snprintf(why, why_len, "rows of hand-off: %s: %s", what, strerror(-err));
	if (r)
		rows_close(r, false); /* those of the process before forward on */
	return err;
}

/* The first has waited long enough, or nobody waits any more. */
static void settled(struct rows *r)
{
	struct settling *s = r->settling;

	r->settling = s->next;
	if (!r->settling)
		r->settling_end = &r->settling;
	free(s);
}

void rows_close(struct rows *r, bool take_off)
{
	size_t i;

	for (i = 0; take_off && i < r->n_links; i++)
		rows_detach_link(r->link[i]);
	if (take_off) {
		unpin(r);
		rmdir(r->pin_dir);
	}
	if (r->tap >= 0)
		close(r->tap);
	if (r->ioctls >= 0)
		close(r->ioctls);
	if (r->timer >= 0)
		close(r->timer);
	while (r->settling)
		settled(r);
	rows_peers_free(r, take_off);
	held_free(r->held);
	flow_bpf__destroy(r->skel);
	free(r);
}

/* --- Rows ------------------------------------------------------------------------------------------------------ */

static int put(struct rows *r, const struct flow *f, const struct row *row, uint64_t how)
{
	struct row now = *row;

	now.since_ns = now_ns();
	return bpf_map_update_elem(bpf_map__fd(r->skel->maps.rows), f, &now, how);
}

int rows_put(struct rows *r, const struct flow *f, const struct row *row)
{
	return put(r, f, row, BPF_ANY);
}

int rows_change(struct rows *r, const struct flow *f, const struct row *row)
{
	return put(r, f, row, BPF_EXIST);
}

int rows_new(struct rows *r, const struct flow *f, const struct row *row)
{
	return put(r, f, row, BPF_NOEXIST);
}

int rows_get(struct rows *r, const struct flow *f, struct row *row)
{
	return bpf_map_lookup_elem(bpf_map__fd(r->skel->maps.rows), f, row);
}

int rows_delete(struct rows *r, const struct flow *f)
{
	return bpf_map_delete_elem(bpf_map__fd(r->skel->maps.rows), f);
}

int rows_each(struct rows *r, int (*each)(void *ctx, const struct flow *f, const struct row *row), void *ctx)
{
	return rows_each_of(bpf_map__fd(r->skel->maps.rows), each, ctx);
}

/* --- Held packets ------------------------------------------------------------------------------------------------ */

/* Out of the TAP it meets flow_ingress again: the row decides where to.  It may have come to another of our vMACs, which
 * the stack would take for somebody else's. */
static void inject(void *ctx, uint8_t *frame, uint32_t len)
{
	struct rows *r = ctx;

	memcpy(frame, r->mac, sizeof(r->mac));
	if (write(r->tap, frame, len) == (ssize_t)len)
		r->released++;
	else
		r->dropped++;
}

void rows_inject(struct rows *r, uint8_t *frame, size_t len)
{
	inject(r, frame, (uint32_t)len);
}


static void wake(const struct rows *r)
{
	uint64_t at = r->settling->due_ns;
	struct itimerspec t = { .it_value = { (time_t)(at / 1000000000), (long)(at % 1000000000) } };

	timerfd_settime(r->timer, TFD_TIMER_ABSTIME, &t, NULL);
}

/* A FIN that the program has sent here to wait.  False: it need not any more. */
static bool settles(struct rows *r, const struct packet *p, const struct row *row, uint32_t len, uint64_t now_ms)
{
	struct settling *s;

	if (row->state != ROW_FWD || row->ending != ROW_END_WAITS || p->shape & PACKET_ICMP_ERROR ||
	    (p->tcp_flags & (TCP_FLAG_BIT_FIN | TCP_FLAG_BIT_RST)) != TCP_FLAG_BIT_FIN)
		return false;
	s = calloc(1, sizeof(*s));
	if (!s)
		return false;
	if (!held_add(r->held, &p->flow, r->frame, len, p->seq, p->segment, now_ms)) {
		free(s);
		return true; /* it waits already, or the client sends it again */
	}
	s->flow = p->flow;
	s->due_ns = now_ns() + FLOW_SETTLE_NS;
	*r->settling_end = s;
	r->settling_end = &s->next;
	if (s == r->settling)
		wake(r);
	return true;
}

/* Those of a flow that is held again wait for its move's end with the others. */
static void let_settled_go(struct rows *r)
{
	struct row row = { .cid = 0 };

	if (!r->settling || r->settling->due_ns > now_ns())
		return;
	while (r->settling && r->settling->due_ns <= now_ns()) {
		if (rows_get(r, &r->settling->flow, &row) || !row_lives(&row, now_ns()) || row.state != ROW_HOLD)
			rows_release(r, &r->settling->flow);
		settled(r);
	}
	if (r->settling)
		wake(r);
}

void rows_settle(struct rows *r)
{
	uint64_t n;

	if (read(r->timer, &n, sizeof(n)) == (ssize_t)sizeof(n))
		let_settled_go(r);
}

void rows_poll(struct rows *r, uint64_t now_ms)
{
	struct packet_source s;
	struct row row = { .cid = 0 };
	struct packet p;
	ssize_t n;
	int i;

	let_settled_go(r);
	/* Not for ever: a packet that goes round would keep us from everything else. */
	for (i = 0; i < POLL_MAX && (n = read(r->tap, r->frame, sizeof(r->frame))) > 0; i++) {
		s = (struct packet_source){ r->frame, (uint32_t)n };
		if (packet_parse(&s, (uint32_t)n, &p) != PACKET_OK || p.flow.protocol != PACKET_TCP)
			continue; /* the stack's own chatter on the device */
		if (rows_get(r, &p.flow, &row) || !row_lives(&row, now_ns()))
			row.state = ROW_NONE;
		if (row.state == ROW_HOLD) {
			held_add(r->held, &p.flow, r->frame, (uint32_t)n, p.seq, p.segment, now_ms);
		} else if (settles(r, &p, &row, (uint32_t)n, now_ms)) {
			continue;
		} else if (!rows_peers_answer(r, &row, r->frame, (size_t)n, now_ms)) {
			r->late++;
			inject(r, r->frame, (uint32_t)n);
		}
	}
}

unsigned rows_release(struct rows *r, const struct flow *f)
{
	uint64_t before = r->released;

	held_release(r->held, f, inject, r);
	return (unsigned)(r->released - before);
}

void rows_drop(struct rows *r, const struct flow *f)
{
	held_drop(r->held, f);
}

void rows_age(struct rows *r, uint64_t now_ms)
{
	held_age(r->held, now_ms);
	rows_peers_age(r, now_ms);
	rows_look_after_links(r, now_ms);
	rows_choose_link(r);
}

int rows_fd(const struct rows *r)
{
	return r->tap;
}

int rows_timer_fd(const struct rows *r)
{
	return r->timer;
}

/* --- Counters ---------------------------------------------------------------------------------------------------- */

/* What the kernel dropped because the TAP was full: the fourth number of what it "transmitted" (procfs, net/dev). */
static uint64_t tap_dropped(const struct rows *r)
{
	unsigned long long dropped = 0;
	size_t len = strlen(r->tap_name);
	char line[512], *at;
	FILE *f = fopen("/proc/thread-self/net/dev", "re");

	while (f && fgets(line, sizeof(line), f)) {
		at = line + strspn(line, " ");
		if (!strncmp(at, r->tap_name, len) && at[len] == ':') {
			sscanf(at + len + 1, "%*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %llu", &dropped);
			break;
		}
	}
	if (f)
		fclose(f);
	return dropped;
}

static int count_one(void *ctx, const struct flow *f, const struct row *row)
{
	(void)f;
	*(uint64_t *)ctx += row->state != ROW_ENDED; /* which is nobody's elsewhere */
	return 0;
}

int rows_counts(struct rows *r, struct rows_counts *out)
{
	const struct held_counts *h = held_counts(r->held);
	int cpus = libbpf_num_possible_cpus(), cpu, err = 0;
	uint64_t *n = calloc((size_t)cpus, sizeof(*n));
	uint32_t i;

	if (!n)
		return -ENOMEM;
	*out = (struct rows_counts){ .waiting = h->packets, .waiting_bytes = h->bytes, .released = r->released,
				     .late = r->late, .dropped = r->dropped + h->dropped, .tap_dropped = tap_dropped(r),
				     .too_big = r->too_big };
	for (i = 0; i < FLOW_COUNTS && !err; i++) {
		err = bpf_map_lookup_elem(bpf_map__fd(r->skel->maps.flow_counts), &i, n);
		for (cpu = 0; cpu < cpus && !err; cpu++)
			out->kernel[i] += n[cpu];
	}
	free(n);
	return err ? err : rows_each(r, count_one, &out->rows);
}
