// SPDX-License-Identifier: BSD-2-Clause
/*
 * Rows of hand-off on a host, without a front end that would make them:
 *
 *     rows SELF PIN_DIR LINK[,LINK...] put CLIENT:PORT VIP:PORT OWNER
 *     rows SELF PIN_DIR LINK[,LINK...] delete CLIENT:PORT VIP:PORT
 *
 * Programs and rows stay when it has ended.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "l7/row/rows.h"

static int usage(void)
{
	fputs("usage: rows SELF PIN_DIR LINK[,LINK...] put|delete CLIENT:PORT VIP:PORT [OWNER]\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	struct flow f = { .protocol = IPPROTO_TCP };
	struct row row = { .state = ROW_FWD, .cid = 1 };
	char link[8][IF_NAMESIZE] = { { 0 } }, why[256], *name;
	struct endpoint client, vip;
	struct rows *rows;
	size_t n = 0, len;
	int err;

	if (argc < 7 || !endpoint_parse(&client, argv[5]) || !endpoint_parse(&vip, argv[6]) ||
	    client.address.family != vip.address.family)
		return usage();
	for (name = strtok(argv[3], ","); name && n < 8; name = strtok(NULL, ","))
		snprintf(link[n++], IF_NAMESIZE, "%s", name);
	len = client.address.family == AF_INET ? 4 : 16;
	f.family = len == 4 ? FLOW_V4 : FLOW_V6;
	memcpy(f.saddr, &client.address.v6, len);
	memcpy(f.daddr, &vip.address.v6, len);
	f.sport = htons(client.port);
	f.dport = htons(vip.port);
	if (rows_open((uint16_t)atoi(argv[1]), argv[2], (const char(*)[IF_NAMESIZE])link, n, &rows, why, sizeof(why))) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	if (argc == 8 && !strcmp(argv[4], "put")) {
		row.owner = (uint16_t)atoi(argv[7]);
		err = rows_put(rows, &f, &row);
	} else if (!strcmp(argv[4], "delete")) {
		err = rows_delete(rows, &f);
	} else {
		return usage();
	}
	rows_close(rows, false);
	if (err)
		fprintf(stderr, "rows: %s: %s\n", argv[4], strerror(-err));
	return err != 0;
}
