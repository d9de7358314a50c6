//! The text form of RFC 3339, read and written exactly: no more and no less than its grammar.

use super::Timestamp;

const DAY: i64 = 86_400;

/// Parses `date-time` of RFC 3339; `None` for any other text, and for a time outside of the years 0 to
/// 9999 in UTC. Digits beyond the nanosecond are dropped; second 60 is read as 59, as clocks without
/// leap seconds do.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let text = text.as_bytes();
    let (date_time, rest) = text.split_at_checked(19)?;
    let [
        y0,
        y1,
        y2,
        y3,
        b'-',
        m0,
        m1,
        b'-',
        d0,
        d1,
        b'T' | b't',
        h0,
        h1,
        b':',
        n0,
        n1,
        b':',
        s0,
        s1,
    ] = *date_time
    else {
        return None;
    };
    let year = number(&[y0, y1, y2, y3])?;
    let (month, day) = (number(&[m0, m1])?, number(&[d0, d1])?);
    let (hour, minute) = (number(&[h0, h1])?, number(&[n0, n1])?);
    let second = number(&[s0, s1])?;
    let is_date = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanos, rest) = fraction(rest)?;
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second.min(59);
    Timestamp::checked(seconds - offset(rest)?, nanos)
}

/// Parses an optional fraction of a second, to nanoseconds, and returns it with the rest.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let count = digits.iter().take_while(|it| it.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let (digits, rest) = digits.split_at(count);
    let nanos = (0..9).fold(0, |nanos, at| {
        let digit = digits.get(at).map_or(0, |digit| digit - b'0');
        nanos * 10 + u32::from(digit)
    });
    Some((nanos, rest))
}

/// Parses the offset from UTC, in seconds.
fn offset(text: &[u8]) -> Option<i64> {
    match *text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (number(&[h0, h1])?, number(&[m0, m1])?);
            let ahead = hours * 3600 + minutes * 60;
            let is_offset = hours <= 23 && minutes <= 59;
            is_offset.then_some(if sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        Some(number * 10 + digit)
    })
}

/// Formats a time in UTC into `room`, with as many decimals as it has.
pub(super) fn format(time: Timestamp, room: &mut [u8; 30]) -> &str {
    let (seconds, mut nanos) = (time.seconds, time.nanos);
    let (year, month, day) = date(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    *room = *b"0000-00-00T00:00:00.000000000Z";
    for (at, width, value) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, second / 3600),
        (14, 2, second / 60 % 60),
        (17, 2, second % 60),
        (20, 9, i64::from(nanos)),
    ] {
        let mut rest = value;
        for place in room[at..at + width].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    let mut length = 29;
    if nanos == 0 {
        length = 19;
    } else {
        while nanos % 10 == 0 {
            nanos /= 10;
            length -= 1;
        }
    }
    room[length] = b'Z';
    // Only ASCII was written.
    str::from_utf8(&room[..=length]).unwrap_or_default()
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar. The year is counted from
/// March, so that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date that many days after 1970-01-01: year, month, day.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        parse(text).map(|time| time.to_string())
    }

    #[test]
    fn every_day_of_ten_thousand_years_goes_both_ways() {
        let mut day = days(0, 1, 1);
        for year in 0..10_000 {
            for month in 1..=12 {
                for of_month in [1, days_of(year, month)] {
                    let expected = day + of_month - 1;
                    assert_eq!(days(year, month, of_month), expected);
                    assert_eq!(date(expected), (year, month, of_month));
                }
                day += days_of(year, month);
            }
        }
        assert_eq!(days(1970, 1, 1), 0);
    }

    #[test]
    fn what_rfc_3339_allows_is_read() {
        for (text, expected) in [
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            (
                "9999-12-31T23:59:59.9999999Z",
                "9999-12-31T23:59:59.9999999Z",
            ),
            (
                "9999-12-31T23:59:59.9999999+00:00",
                "9999-12-31T23:59:59.9999999Z",
            ),
            ("9999-12-30T22:00:01Z", "9999-12-30T22:00:01Z"),
            (
                "2026-07-16T13:53:54.1234567890Z",
                "2026-07-16T13:53:54.123456789Z",
            ),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("0000-01-01T00:00:00-12:00", "0000-01-01T12:00:00Z"),
            ("2024-02-29t23:59:60z", "2024-02-29T23:59:59Z"),
            ("1990-12-31T15:59:50.50-08:00", "1990-12-31T23:59:50.5Z"),
            ("2026-01-01T00:00:00+23:59", "2025-12-31T00:01:00Z"),
            ("2026-01-01T00:00:00-00:00", "2026-01-01T00:00:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-07-16",
            "2026-07-16T13:53Z",
            "20260716T135354Z",
            "2026-07-16 13:53:54Z",
            "2026-07-16T13:53:54",
            "2026-07-16T13:53:54.Z",
            "2026-07-16T13:53:54,5Z",
            "2026-07-16T13:53:54+02",
            "2026-07-16T13:53:54+0200",
            "2026-07-16T13:53:54+24:00",
            "2026-07-16T13:53:54+25:00",
            "2026-07-16T13:53:54+02:60",
            "2026-07-16T13:53:54-07:00[America/Los_Angeles]",
            "2026-01-01T00:00:00America/Los_Angeles",
            "2026-07-16T24:00:00Z",
            "2026-07-16T13:60:00Z",
            "2026-07-16T13:53:61Z",
            "2026-00-16T13:53:54Z",
            "2026-13-16T13:53:54Z",
            "2026-02-29T13:53:54Z",
            "2026-07-00T13:53:54Z",
            "2026-07-32T13:53:54Z",
            "-000001-01-01T00:00:00Z",
            "12026-07-16T13:53:54Z",
            "+026-07-16T13:53:54Z",
            // Outside of the years that the text could say again.
            "0000-01-01T00:00:00+12:00",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_time_comes_back(
            seconds in Timestamp::MIN.seconds..=Timestamp::MAX.seconds,
            nanos in prop_oneof![Just(0u32), 0..1_000_000_000u32, (0..1000u32).prop_map(|it| it * 1_000_000)],
        ) {
            let time = Timestamp { seconds, nanos };
            prop_assert_eq!(parse(&time.to_string()), Some(time));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
