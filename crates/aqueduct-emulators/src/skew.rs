use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};

/// How far a signature may be from the clock of the service.
const TOLERANCE: u64 = 5 * 60;

/// The clock of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    seconds: i64,
}

impl Clock {
    pub(crate) fn off_by(seconds: i64) -> Self {
        Self { seconds }
    }

    /// Refuses signatures that are far from this clock, and stamps every response with it.
    pub(crate) fn over(self, app: Router) -> Router {
        Router::new().fallback(move |request: Request<Body>| {
            let mut app = app.clone();
            async move {
                let now = self.now();
                let mut response = match self.refusal(&request, now) {
                    Some(refusal) => refusal,
                    None => match tower::Service::call(&mut app, request).await {
                        Ok(response) => response,
                        Err(never) => match never {},
                    },
                };
                if let Ok(date) = HeaderValue::from_str(&http_date(now)) {
                    response.headers_mut().insert(header::DATE, date);
                }
                response
            }
        })
    }

    fn now(self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or(Duration::ZERO).as_secs();
        now.saturating_add_signed(self.seconds)
    }

    fn refusal(self, request: &Request<Body>, now: u64) -> Option<Response<Body>> {
        let signed = request.headers().get("x-amz-date")?.to_str().ok()?;
        let signed = parse_amz_date(signed)?;
        if signed.abs_diff(now) <= TOLERANCE {
            return None;
        }
        let which = match signed < now {
            true => "Signature expired",
            false => "Signature not yet current",
        };
        let body = format!(
            r#"{{"__type":"InvalidSignatureException","message":"{which}: {signed} is more than 5 min. from {now}"}}"#
        );
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        let json = HeaderValue::from_static("application/x-amz-json-1.1");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Some(response)
    }
}

/// Parses `20261128T194000Z`; returns the seconds since 1970.
fn parse_amz_date(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let days = days_of(number(0..4)?, number(4..6)?, number(6..8)?);
    Some(days * 86_400 + number(9..11)? * 3600 + number(11..13)? * 60 + number(13..15)?)
}

/// Returns the days since 1970-01-01 of a date of the Gregorian calendar.
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March here, so that a leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// Formats as `Sat, 28 Nov 2026 19:40:00 GMT`.
fn http_date(seconds: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    while days_of(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_of(year, month + 1, 1) <= days {
        month += 1;
    }
    let day = days - days_of(year, month, 1) + 1;
    let (weekday, month) = (WEEKDAYS[(days % 7) as usize], MONTHS[month as usize - 1]);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, amz, http) in [
            (0, "19700101T000000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (
                951_782_400,
                "20000229T000000Z",
                "Tue, 29 Feb 2000 00:00:00 GMT",
            ),
            (
                1_795_894_800,
                "20261128T194000Z",
                "Sat, 28 Nov 2026 19:40:00 GMT",
            ),
            (
                1_798_761_599,
                "20261231T235959Z",
                "Thu, 31 Dec 2026 23:59:59 GMT",
            ),
        ] {
            assert_eq!(parse_amz_date(amz), Some(seconds), "{amz}");
            assert_eq!(http_date(seconds), http);
        }
    }
}
