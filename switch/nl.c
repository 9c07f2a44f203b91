/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rtnetlink transport: batches with one acknowledgement, dumps.  The kernel works through a batch to
 * its end whatever fails in it, and reports each failure even where no acknowledgement was asked for;
 * so the last message's answer says that the batch is over, and the first failure is its result.
 */
#include "switch/nl.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* What one send may carry; socket buffers are sized for it. */
#define SEND_MAX (256u << 10)
#define RECV_MAX (128u << 10)

int nl_open(struct nl *n)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	socklen_t len = sizeof(addr);
	int one = 1, size = 4 << 20;
	struct timeval limit = { .tv_sec = 5 };
	int err;

	memset(n, 0, sizeof(*n));
	n->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (n->fd < 0)
		return -errno;
	if (bind(n->fd, (struct sockaddr *)&addr, sizeof(addr)) || getsockname(n->fd, (struct sockaddr *)&addr, &len)) {
		err = -errno;
		close(n->fd);
		n->fd = -1;
		return err;
	}
	n->portid = addr.nl_pid;
	/* Best effort: without them messages are less helpful and dumps unfiltered, results are the same. */
	setsockopt(n->fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	setsockopt(n->fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	setsockopt(n->fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	setsockopt(n->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	setsockopt(n->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(n->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return 0;
}

void nl_close(struct nl *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

static bool batch_reserve(struct nl_batch *b, size_t room)
{
	size_t cap = b->cap ? b->cap : 16384;
	uint8_t *buf;

	while (cap < b->len + room)
		cap *= 2;
	if (cap == b->cap)
		return true;
	buf = realloc(b->buf, cap);
	if (!buf)
		return false;
	b->buf = buf;
	b->cap = cap;
	return true;
}

struct nlmsghdr *nl_message(struct nl_batch *b, uint16_t type, uint16_t flags, size_t header, size_t room)
{
	/* Out of memory: build into a scratch message, so that callers need no check; commit refuses. */
	static _Alignas(8) uint8_t scratch[96 << 10];
	struct nlmsghdr *h;
	size_t need = MNL_ALIGN(sizeof(*h)) + MNL_ALIGN(header) + room + 64;

	if (b->failed || !batch_reserve(b, need)) {
		b->failed = true;
		memset(scratch, 0, 256);
		h = mnl_nlmsg_put_header(scratch);
	} else {
		b->last = b->len;
		h = mnl_nlmsg_put_header(b->buf + b->len);
	}
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	memset(mnl_nlmsg_put_extra_header(h, header), 0, header);
	return h;
}

void nl_message_end(struct nl_batch *b, struct nlmsghdr *h)
{
	if (b->failed)
		return;
	b->len += MNL_ALIGN(h->nlmsg_len);
	b->n++;
}

void nl_batch_free(struct nl_batch *b)
{
	free(b->buf);
	memset(b, 0, sizeof(*b));
}

static void batch_reset(struct nl_batch *b)
{
	b->len = b->last = b->n = 0;
	b->failed = false;
}

/* Keeps the kernel's own explanation of an error. */
static void keep_why(struct nl *n, const struct nlmsghdr *h)
{
	const struct nlattr *attr;

	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	/* NETLINK_CAP_ACK: the failed message is not repeated, attributes follow at once. */
	mnl_attr_for_each(attr, h, sizeof(struct nlmsgerr)) {
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG) {
			const char *text = mnl_attr_get_str(attr);

			strncpy(n->why, text, sizeof(n->why) - 1);
		}
	}
}

static int receive(struct nl *n, uint8_t *buf, size_t size)
{
	ssize_t len;

	do {
		len = recv(n->fd, buf, size, 0);
	} while (len < 0 && errno == EINTR);
	if (len < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return (int)len;
}

/* Reads answers until the one to `last`.  The first failure that is not to be ignored is the result. */
static int wait_ack(struct nl *n, uint32_t first, uint32_t last, const int ignore[2])
{
	static _Alignas(8) uint8_t buf[RECV_MAX];
	int result = 0;

	for (;;) {
		int len = receive(n, buf, sizeof(buf));
		const struct nlmsghdr *h = (const void *)buf;

		if (len < 0)
			return len;
		for (; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
			const struct nlmsgerr *e;

			if (h->nlmsg_type != NLMSG_ERROR || (uint32_t)(h->nlmsg_seq - first) > last - first)
				continue; /* late answer to a request that timed out */
			e = mnl_nlmsg_get_payload(h);
			if (e->error && -e->error != ignore[0] && -e->error != ignore[1] && !result) {
				result = e->error;
				keep_why(n, h);
			}
			if (h->nlmsg_seq == last)
				return result;
		}
	}
}

/* Sends messages from `at` on, as many as one send may carry; *at is moved past them. */
static int commit_some(struct nl *n, struct nl_batch *b, size_t *at)
{
	size_t start = *at, end = start;
	struct nlmsghdr *h = NULL;
	uint32_t first = n->seq + 1;

	while (end < b->len) {
		struct nlmsghdr *next = (void *)(b->buf + end);

		if (h && end + MNL_ALIGN(next->nlmsg_len) - start > SEND_MAX)
			break;
		h = next;
		h->nlmsg_seq = ++n->seq;
		end += MNL_ALIGN(h->nlmsg_len);
	}
	if (!h)
		return 0;
	h->nlmsg_flags |= NLM_F_ACK;
	*at = end;
	if (send(n->fd, b->buf + start, end - start, 0) < 0)
		return -errno;
	return wait_ack(n, first, n->seq, b->ignore);
}

int nl_commit(struct nl *n, struct nl_batch *b)
{
	int result = b->failed ? -ENOMEM : 0;
	size_t at = 0;

	n->why[0] = 0;
	while (!b->failed && at < b->len) {
		int err = commit_some(n, b, &at);

		if (err && !result)
			result = err;
	}
	batch_reset(b);
	return result;
}

int nl_dump(struct nl *n, struct nl_batch *b, int (*each)(void *ctx, const struct nlmsghdr *h), void *ctx)
{
	static _Alignas(8) uint8_t buf[RECV_MAX];
	struct nlmsghdr *req;
	int result = 0;

	n->why[0] = 0;
	if (b->failed) {
		batch_reset(b);
		return -ENOMEM;
	}
	req = (void *)b->buf;
	req->nlmsg_flags |= NLM_F_DUMP;
	req->nlmsg_seq = ++n->seq;
	if (send(n->fd, b->buf, b->len, 0) < 0)
		result = -errno;
	batch_reset(b);
	if (result)
		return result;
	for (;;) {
		int len = receive(n, buf, sizeof(buf));
		const struct nlmsghdr *h = (const void *)buf;

		if (len < 0)
			return len;
		for (; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
			if (h->nlmsg_seq != n->seq)
				continue;
			if (h->nlmsg_flags & NLM_F_DUMP_INTR && !result)
				result = -EAGAIN;
			if (h->nlmsg_type == NLMSG_DONE) {
				const int *err = mnl_nlmsg_get_payload(h);

				return result ? result : h->nlmsg_len >= mnl_nlmsg_size(sizeof(int)) && *err < 0 ? *err : 0;
			}
			if (h->nlmsg_type == NLMSG_ERROR) {
				const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);

				keep_why(n, h);
				return e->error;
			}
			if (!result || result == -EAGAIN) {
				int err = each(ctx, h);

				if (err && !result)
					result = err; /* the rest of the dump must still be read off */
			}
		}
	}
}
