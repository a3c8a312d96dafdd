#!/usr/bin/env python3
"""Writes oracle.txt: what the expressions below mean in twelve awkward zones over twenty years, as
other code sees it: croniter reads the expressions, zoneinfo the zones, and every wall time of every
day is looked at one by one.

    pip install croniter tzdata && PYTHONTZPATH=zones python3 oracle.py > oracle.txt

Each line: expression, zone, how many times in each year, FNV-1a of all of them (seconds since 1970
as 8 bytes, little endian).
"""
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from croniter import croniter

ZONES = """Africa/Cairo Africa/Casablanca America/Havana America/New_York America/Sao_Paulo
America/St_Johns Antarctica/Troll Asia/Kathmandu Asia/Tehran Australia/Lord_Howe Europe/Berlin
Pacific/Apia""".split()
EXPRESSIONS = """30 2 * * *
0 0 * * *
15 1,2 * * sun
*/30 1-3 * * *
15 */6 * * *
0 12 29 2 *
0 0 13 * fri
59 23 31 * *
0 3 1-7 * mon
45 0-3 * mar,apr,oct,nov *
0 12 30 12 *
@monthly""".splitlines()
FIRST, LAST = datetime(2005, 1, 1, tzinfo=timezone.utc), datetime(2025, 1, 1, tzinfo=timezone.utc)


def members(values, first, last):
    return set(range(first, last + 1)) if values == ["*"] else {int(v) for v in values}


def walls(expression):
    minutes, hours, days, months, weekdays = croniter.expand(expression)[0][:5]
    any_day, any_weekday = days == ["*"], weekdays == ["*"]
    minutes, hours = sorted(members(minutes, 0, 59)), sorted(members(hours, 0, 23))
    days, months = members(days, 1, 31), members(months, 1, 12)
    weekdays = {d % 7 for d in members(weekdays, 0, 6)}
    day = date(2004, 12, 30)
    while day < date(2025, 1, 3):
        on_day, on_weekday = day.day in days, day.isoweekday() % 7 in weekdays
        if not any_day and not any_weekday:
            meant = on_day or on_weekday
        else:
            meant = on_day and on_weekday
        if meant and day.month in months:
            for h in hours:
                for m in minutes:
                    yield datetime(day.year, day.month, day.day, h, m)
        day += timedelta(days=1)


def instant(wall, zone):
    """Of a skipped wall time, the first second after the skip; of a repeated one, the first time."""
    at = wall.replace(tzinfo=zone, fold=0).astimezone(timezone.utc)
    if at.astimezone(zone).replace(tzinfo=None) == wall:
        return at
    low, high = at - timedelta(days=2), at + timedelta(days=2)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            low = middle
        else:
            high = middle
    return high


def fnv(times):
    h = 0xCBF29CE484222325
    for t in times:
        for b in t.to_bytes(8, "little"):
            h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


for expression in EXPRESSIONS:
    for name in ZONES:
        zone = ZoneInfo(name)
        found = {instant(w, zone) for w in walls(expression)}
        found = sorted(t for t in found if FIRST <= t < LAST)
        years = [0] * 20
        for t in found:
            years[t.year - 2005] += 1
        digest = fnv(int(t.timestamp()) for t in found)
        print(f"{expression}|{name}|{' '.join(map(str, years))}|{digest:016x}", flush=True)
