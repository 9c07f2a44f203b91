/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The live view: the bucket grid coloured by owner (underlined: older flows live elsewhere), hosts,
 * switches and what the load has met so far.  On anything but a terminal: a line every five seconds.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/demo.h"

static const int colour[] = { 90, 44, 42, 43, 45, 46, 41, 100 };

static int colour_of(unsigned host)
{
	return colour[host ? 1 + (host - 1) % 7 : 0];
}

static void draw_grid(const struct demo *d)
{
	unsigned i;

	for (i = 0; i < d->n_buckets; i++) {
		unsigned owner = d->owner[i];

		printf("\033[%d;%s30m%c\033[0m", colour_of(owner), d->history[i] ? "4;1;" : "",
		       owner ? (char)('0' + owner % 10) : '.');
		if (i % 64 == 63)
			printf("\033[K\n");
	}
	printf("\033[K\n");
}

static void draw_load(const struct demo *d)
{
	const char *bad = "\033[41;97m", *good = "\033[32m", *end = "\033[0m";

	printf("short requests %8llu   failed %s%llu%s   p99 %llu ms\033[K\n", (unsigned long long)d->brief.ok,
	       d->brief.failed ? bad : good, (unsigned long long)d->brief.failed, end, (unsigned long long)d->brief.p99_ms);
	printf("long connections %6llu   open %llu   broken %s%llu%s   resets on the wire %s%llu%s\033[K\n",
	       (unsigned long long)d->lasting.connections, (unsigned long long)d->lasting.open,
	       d->lasting.failed ? bad : good, (unsigned long long)d->lasting.failed, end, d->resets ? bad : good,
	       (unsigned long long)d->resets, end);
}

static uint64_t handed_off(const struct demo *d)
{
	uint64_t sum[DEMO_ANSWERS];

	demo_answers_all(d, sum);
	return sum[ANSWER_GIVEN];
}

static void draw_answers(const struct demo *d)
{
	uint64_t sum[DEMO_ANSWERS];

	if (!d->handoff)
		return;
	demo_answers_all(d, sum);
	printf("answered: proxied %llu   at home %llu   handed off %llu   refused %llu   lost %s%llu\033[0m\033[K\n", (unsigned long long)sum[ANSWER_PROXIED],
	       (unsigned long long)sum[ANSWER_HERE], (unsigned long long)sum[ANSWER_GIVEN], (unsigned long long)sum[ANSWER_RESUMED],
	       sum[ANSWER_LOST] ? "\033[41;97m" : "\033[32m", (unsigned long long)sum[ANSWER_LOST]);
}

/* The screen must not scroll: the latest drains get the rows that the rest leaves. */
static unsigned rows_for_drains(const struct demo *d, unsigned rows)
{
	unsigned rest = 10 + (d->n_buckets + 63) / 64 + d->n_hosts + d->n_switches;

	return rows > rest + 1 ? rows - rest : 1;
}

static void draw_screen(const struct demo *d)
{
	struct winsize w = { .ws_row = 24, .ws_col = 80 };
	unsigned i, room;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || !w.ws_row || !w.ws_col) {
		w.ws_row = 24;
		w.ws_col = 80;
	}
	room = rows_for_drains(d, w.ws_row);
	/* No wrapping: a long line is cut off rather than making one more. */
	printf("\033[?7l\033[H\033[1mbaton demo\033[0m  %5.0f s   %s\033[K\n\033[K\n", demo_now_s() - d->begun_s, d->step);
	draw_grid(d);
	for (i = 0; i < d->n_hosts; i++) {
		const struct demo_host *h = &d->host[i];

		printf("\033[%d;30m%-4s\033[0m %-8s %-5s owns %3d  shelters %3d  sockets %4d  detoured %llu", colour_of(i + 1), h->name, h->admin, h->health,
		       h->owned, h->sheltered, h->sockets, (unsigned long long)h->detoured);
		if (d->handoff)
			printf("  proxied %llu  home %llu  given %llu", (unsigned long long)demo_answers(h, ANSWER_PROXIED),
			       (unsigned long long)demo_answers(h, ANSWER_HERE), (unsigned long long)demo_answers(h, ANSWER_GIVEN));
		printf("\033[K\n");
	}
	for (i = 0; i < d->n_switches; i++)
		printf("%-4s %-8s %-8s %s\033[K\n", d->sw[i].name, d->sw[i].admin, d->sw[i].fabric,
		       d->sw[i].announcing ? "announcing" : "withdrawn");
	printf("\033[K\n");
	draw_load(d);
	draw_answers(d);
	printf("\033[K\n");
	for (i = d->n_drains > room ? d->n_drains - room : 0; i < d->n_drains; i++)
		if (d->drain[i].seconds >= 0)
			printf("drain of %-10s safe after %5.1f s\033[K\n", d->drain[i].what, d->drain[i].seconds);
		else
			printf("drain of %-10s ... %5.1f s\033[K\n", d->drain[i].what, demo_now_s() - d->drain[i].begun_s);
	printf("\033[90m%.110s\033[0m\033[K\033[J\033[?7h", d->said);
	fflush(stdout);
}

void demo_draw(struct demo *d, bool at_once)
{
	double now = demo_now_s();

	if (!d->long_load || (!at_once && now - d->drawn_s < (d->tty ? 0.2 : 5.0)))
		return;
	d->drawn_s = now;
	if (d->tty) {
		draw_screen(d);
		return;
	}
	printf("%6.1f s  requests %llu failed %llu  long %llu open %llu broken %llu  resets %llu", now - d->begun_s,
	       (unsigned long long)d->brief.ok, (unsigned long long)d->brief.failed, (unsigned long long)d->lasting.connections,
	       (unsigned long long)d->lasting.open, (unsigned long long)d->lasting.failed, (unsigned long long)d->resets);
	if (d->handoff)
		printf("  handed off %llu", (unsigned long long)handed_off(d));
	printf("\n");
	fflush(stdout);
}

void demo_says(struct demo *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(d->step, sizeof(d->step), fmt, ap);
	va_end(ap);
	if (!d->tty || !d->long_load)
		printf("%6.1f s  %s\n", demo_now_s() - d->begun_s, d->step);
	fflush(stdout);
	demo_draw(d, d->tty);
}
