// SPDX-License-Identifier: BSD-2-Clause
/* Sealing in the kernel (l7/tls/ktls.h). */
#include "l7/tls/ktls.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h> /* does not go together with netinet/tcp.h */
#include <linux/tls.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#define CONTENT_ALERT 21
#define AGAIN_MAX 16 /* looks at a socket whose client acknowledges meanwhile */

static enum { NOT_LOOKED, ABSENT, PRESENT } here;

union crypto {
	struct tls_crypto_info info;
	struct tls12_crypto_info_aes_gcm_128 aes_128;
	struct tls12_crypto_info_aes_gcm_256 aes_256;
	struct tls12_crypto_info_chacha20_poly1305 chacha;
};

_Static_assert(sizeof(((struct record_direction *)0)->iv) == TLS_CIPHER_CHACHA20_POLY1305_IV_SIZE, "as the kernel's");

static void put_be64(uint8_t *p, uint64_t v)
{
	int i;

	for (i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get_be64(const uint8_t *p)
{
	uint64_t v = 0;
	int i;

	for (i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

/* The nonce's fixed part, and its other 8 bytes: of the iv; TLS 1.2's GCM counts them itself, from the sequence number on. */
static void put_gcm(const struct record_state *s, uint8_t *salt, uint8_t *iv, uint8_t *seq)
{
	memcpy(salt, s->write.iv, 4);
	put_be64(seq, s->write.seq);
	if (s->version == 0x0304)
		memcpy(iv, s->write.iv + 4, 8);
	else
		put_be64(iv, s->write.seq);
}

static socklen_t put_crypto(const struct record_state *s, union crypto *c)
{
	memset(c, 0, sizeof(*c));
	c->info.version = s->version == 0x0304 ? TLS_1_3_VERSION : TLS_1_2_VERSION;
	switch ((enum record_cipher)s->cipher) {
	case RECORD_AES_128_GCM:
		c->info.cipher_type = TLS_CIPHER_AES_GCM_128;
		put_gcm(s, c->aes_128.salt, c->aes_128.iv, c->aes_128.rec_seq);
		memcpy(c->aes_128.key, s->write.key, sizeof(c->aes_128.key));
		return sizeof(c->aes_128);
	case RECORD_AES_256_GCM:
		c->info.cipher_type = TLS_CIPHER_AES_GCM_256;
		put_gcm(s, c->aes_256.salt, c->aes_256.iv, c->aes_256.rec_seq);
		memcpy(c->aes_256.key, s->write.key, sizeof(c->aes_256.key));
		return sizeof(c->aes_256);
	case RECORD_CHACHA20_POLY1305:
		c->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
		memcpy(c->chacha.iv, s->write.iv, sizeof(c->chacha.iv));
		memcpy(c->chacha.key, s->write.key, sizeof(c->chacha.key));
		put_be64(c->chacha.rec_seq, s->write.seq);
		return sizeof(c->chacha);
	}
	return 0;
}

void ktls_look(void)
{
	int fd, err;

	if (here != NOT_LOOKED)
		return;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* ENOTCONN comes from the protocol itself: it is there, and wants a connection. */
	err = fd < 0 || !setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ? 0 : errno;
	if (fd >= 0)
		close(fd);
	__atomic_store_n(&here, err == ENOTCONN ? PRESENT : ABSENT, __ATOMIC_RELAXED);
	log_info(err == ENOTCONN ? "the kernel has TLS: it seals large answers from files" : "the kernel has no TLS: all is sealed here");
}

bool ktls_here(void)
{
	return __atomic_load_n(&here, __ATOMIC_RELAXED) == PRESENT;
}

/* Octets of TCP's queue since the connection began, those that were acknowledged included. */
static int position(int fd, uint64_t *at)
{
	struct tcp_info before, after;
	socklen_t len;
	int queued, i;

	for (i = 0; i < AGAIN_MAX; i++) {
		len = sizeof(before);
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &before, &len) || ioctl(fd, SIOCOUTQ, &queued))
			return -errno;
		len = sizeof(after);
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &after, &len))
			return -errno;
		*at = after.tcpi_bytes_acked + (uint64_t)queued;
		if (before.tcpi_bytes_acked == after.tcpi_bytes_acked)
			return 0;
	}
	return -EAGAIN;
}

int ktls_records(int fd, const struct record_state *s, uint64_t *records)
{
	const uint8_t *seq;
	union crypto c;
	socklen_t n = put_crypto(s, &c);
	int err = 0;

	if (getsockopt(fd, SOL_TLS, TLS_TX, &c, &n))
		err = -errno;
	seq = s->cipher == RECORD_AES_128_GCM	? c.aes_128.rec_seq
	      : s->cipher == RECORD_AES_256_GCM ? c.aes_256.rec_seq
						: c.chacha.rec_seq;
	if (!err)
		*records = get_be64(seq);
	OPENSSL_cleanse(&c, sizeof(c));
	return err;
}

static uint8_t overhead(const struct record_state *s)
{
	return s->version == 0x0304 ? 5 + 1 + 16 : s->cipher == RECORD_CHACHA20_POLY1305 ? 5 + 16 : 5 + 8 + 16;
}

static int take_over(int fd, const struct record_state *s)
{
	union crypto c;
	socklen_t n;
	int err = 0;

	/* ENOENT: a kernel without it.  EEXIST: it is on this socket already, which was tried before and not taken back. */
	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) && errno != EEXIST)
		return errno == ENOENT || errno == ENOPROTOOPT ? -EOPNOTSUPP : -errno;
	n = put_crypto(s, &c);
	if (setsockopt(fd, SOL_TLS, TLS_TX, &c, n))
		err = errno == EINVAL || errno == ENOENT ? -EOPNOTSUPP : -errno;
	OPENSSL_cleanse(&c, sizeof(c));
	return err;
}

int ktls_begin(int fd, const struct record_state *s, uint64_t plain, struct ktls *k)
{
	int err;

	if (s->failed || s->write_closed)
		return -EPIPE;
	if (s->plain_max != RECORD_PLAIN_MAX)
		return -EOPNOTSUPP;
	*k = (struct ktls){ .records = s->write.seq, .plain = plain, .overhead = overhead(s) };
	err = position(fd, &k->wire);
	return err ? err : take_over(fd, s);
}

bool ktls_whole(const struct ktls *k, uint64_t records, uint64_t plain, uint64_t wire)
{
	return wire - k->wire == plain - k->plain + (records - k->records) * k->overhead;
}

bool ktls_settled(const struct ktls *k, int fd, const struct record_state *s, uint64_t plain)
{
	uint64_t wire = 0, records = 0;

	return !ktls_records(fd, s, &records) && !position(fd, &wire) && ktls_whole(k, records, plain, wire);
}

int ktls_alert(int fd, uint8_t level, uint8_t name)
{
	uint8_t alert[2] = { level, name };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(1)];
	} control = { .room = { 0 } };
	struct iovec v = { alert, sizeof(alert) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room) };

	control.head.cmsg_level = SOL_TLS;
	control.head.cmsg_type = TLS_SET_RECORD_TYPE;
	control.head.cmsg_len = CMSG_LEN(1);
	*CMSG_DATA(&control.head) = CONTENT_ALERT;
	return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(alert) ? 0 : -errno;
}
