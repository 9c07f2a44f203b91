// SPDX-License-Identifier: BSD-2-Clause
/* Sealing in the kernel (l7/tls/ktls.h). */
#include "l7/tls/ktls.h"

#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#define OPTION_ULP 31 /* TCP_ULP */
#define CONTENT_ALERT 21
#define WARNING 1
#define CLOSE_NOTIFY 0

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

int ktls_send(int fd, const struct record_state *s)
{
	union crypto c;
	socklen_t n;
	int err = 0;

	if (s->failed || s->write_closed)
		return -EPIPE;
	if (s->plain_max != RECORD_PLAIN_MAX)
		return -EOPNOTSUPP;
	/* ENOENT: a kernel without it.  EEXIST: it is on this socket already, which was tried before and not taken back. */
	if (setsockopt(fd, IPPROTO_TCP, OPTION_ULP, "tls", sizeof("tls")) && errno != EEXIST)
		return errno == ENOENT || errno == ENOPROTOOPT ? -EOPNOTSUPP : -errno;
	n = put_crypto(s, &c);
	if (setsockopt(fd, SOL_TLS, TLS_TX, &c, n))
		err = errno == EINVAL || errno == ENOENT ? -EOPNOTSUPP : -errno;
	OPENSSL_cleanse(&c, sizeof(c));
	return err;
}

int ktls_state(int fd, struct record_state *s)
{
	const uint8_t *seq;
	union crypto c;
	socklen_t n = put_crypto(s, &c);
	int err = 0, i;

	if (getsockopt(fd, SOL_TLS, TLS_TX, &c, &n))
		err = -errno;
	seq = s->cipher == RECORD_AES_128_GCM	? c.aes_128.rec_seq
	      : s->cipher == RECORD_AES_256_GCM ? c.aes_256.rec_seq
						: c.chacha.rec_seq;
	for (i = 0, s->write.seq = err ? s->write.seq : 0; !err && i < 8; i++)
		s->write.seq = s->write.seq << 8 | seq[i];
	OPENSSL_cleanse(&c, sizeof(c));
	return err;
}

int ktls_close_notify(int fd)
{
	uint8_t alert[2] = { WARNING, CLOSE_NOTIFY };
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
