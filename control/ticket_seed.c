// SPDX-License-Identifier: BSD-2-Clause
/* Seeds of session ticket keys (control/ticket_seed.h). */
#include "control/ticket_seed.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <string.h>

#include "control/record.h"

#define PERIOD_MIN_S 60
#define PERIOD_MAX_S (7 * 86400)

int ticket_seed_new(struct ticket_seed *seed, uint64_t now_s)
{
	seed->period_s = TICKET_PERIOD_S;
	seed->epoch = now_s / seed->period_s;
	return RAND_priv_bytes(seed->secret, sizeof(seed->secret)) == 1 ? 0 : -EIO;
}

void ticket_derive(const uint8_t secret[TICKET_SECRET_LEN], const char *label, uint8_t out[TICKET_SECRET_LEN])
{
	uint8_t mac[TICKET_SECRET_LEN];

	HMAC(EVP_sha256(), secret, TICKET_SECRET_LEN, (const uint8_t *)label, strlen(label), mac, NULL);
	memcpy(out, mac, sizeof(mac)); /* out may be secret */
	OPENSSL_cleanse(mac, sizeof(mac));
}

int ticket_seed_advance(struct ticket_seed *seed, uint64_t epoch)
{
	if (epoch > seed->epoch && epoch - seed->epoch > TICKET_STEPS_MAX)
		return -ERANGE;
	for (; seed->epoch < epoch; seed->epoch++)
		ticket_derive(seed->secret, "baton ticket next", seed->secret);
	return 0;
}

void ticket_seed_put(const struct ticket_seed *seed, uint8_t out[TICKET_SEED_LEN])
{
	put64(out, seed->epoch);
	put32(out + 8, seed->period_s);
	memcpy(out + 12, seed->secret, TICKET_SECRET_LEN);
}

int ticket_seed_get(const uint8_t *p, size_t len, struct ticket_seed *seed)
{
	if (len < TICKET_SEED_LEN)
		return -EINVAL;
	seed->epoch = get64(p);
	seed->period_s = get32(p + 8);
	memcpy(seed->secret, p + 12, TICKET_SECRET_LEN);
	return seed->period_s < PERIOD_MIN_S || seed->period_s > PERIOD_MAX_S ? -EINVAL : 0;
}
