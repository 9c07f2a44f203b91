// SPDX-License-Identifier: BSD-2-Clause
/* Dates of HTTP (RFC 9110 5.6.7), without the locale. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "l7/object/object.h"

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

void http_date_print(int64_t s, char buf[HTTP_DATE_TEXT])
{
	time_t t = s;
	struct tm tm;

	gmtime_r(&t, &tm);
	snprintf(buf, HTTP_DATE_TEXT, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday, tm.tm_mday % 100,
		 months + 3 * tm.tm_mon, (1900 + tm.tm_year) % 10000, tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
}

static int month_of(const char *p)
{
	for (int m = 0; m < 12; m++)
		if (!memcmp(p, months + 3 * m, 3))
			return m;
	return -1;
}

/* `pattern`: d a digit, s a digit or space, a a letter, others themselves. */
static bool shaped(const char *p, const char *pattern)
{
	for (; *pattern; p++, pattern++) {
		bool digit = *p >= '0' && *p <= '9', letter = (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z');

		switch (*pattern) {
		case 'd':
			if (!digit)
				return false;
			break;
		case 's':
			if (!digit && *p != ' ')
				return false;
			break;
		case 'a':
			if (!letter)
				return false;
			break;
		default:
			if (*p != *pattern)
				return false;
		}
	}
	return true;
}

static int two(const char *p)
{
	return (*p == ' ' ? 0 : 10 * (p[0] - '0')) + p[1] - '0';
}

static int64_t seconds(int year, const char *month, const char *day, const char *clock)
{
	struct tm tm = { .tm_year = year - 1900, .tm_mon = month_of(month), .tm_mday = two(day), .tm_hour = two(clock),
			 .tm_min = two(clock + 3), .tm_sec = two(clock + 6) };

	if (tm.tm_mon < 0 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return -1;
	return timegm(&tm);
}

int64_t http_date_parse(const char *text, uint32_t len)
{
	char p[40];

	if (len >= sizeof(p))
		return -1;
	memcpy(p, text, len);
	memset(p + len, 0, sizeof(p) - len);
	/* Sun, 06 Nov 1994 08:49:37 GMT */
	if (len == 29 && shaped(p, "aaa, dd aaa dddd dd:dd:dd GMT"))
		return seconds(100 * two(p + 12) + two(p + 14), p + 8, p + 5, p + 17);
	/* Sun Nov  6 08:49:37 1994 */
	if (len == 24 && shaped(p, "aaa aaa sd dd:dd:dd dddd"))
		return seconds(100 * two(p + 20) + two(p + 22), p + 4, p + 8, p + 11);
	/* Sunday, 06-Nov-94 08:49:37 GMT: two digits are of the last fifty years or the next */
	for (uint32_t i = 0; i < len; i++) {
		if (p[i] == ',' && len == i + 24 && shaped(p + i, ", dd-aaa-dd dd:dd:dd GMT")) {
			int year = two(p + i + 9);

			return seconds(year < 70 ? 2000 + year : 1900 + year, p + i + 5, p + i + 2, p + i + 12);
		}
	}
	return -1;
}
