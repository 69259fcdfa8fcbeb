//! The time zone that a setting names.

use codec::syslog::Zone;
use engine::BuildError;
use jiff::tz::{Offset, TimeZone};

/// `UTC`, `local`, `+02:00` or `Europe/Berlin`.
///
/// # Errors
/// What can be written instead.
pub(super) fn find(name: &str) -> Result<Zone, BuildError> {
    if name.eq_ignore_ascii_case("utc") || name == "Z" {
        return Ok(Zone::utc());
    }
    if name == "local" {
        return Ok(TimeZone::system().into());
    }
    if let Some(offset) = offset(name) {
        return Ok(TimeZone::fixed(offset).into());
    }
    TimeZone::get(name).map(Zone::from).map_err(|error| {
        let advice = "write UTC, local, an offset such as +02:00, or a name such as Europe/Berlin, for which the \
                      system's time zone database (/usr/share/zoneinfo) must be there";
        BuildError::because(format!("time_zone: {name:?} is none: {advice}"), error)
    })
}

/// `+hh:mm` or `-hh:mm`.
fn offset(text: &str) -> Option<Offset> {
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let all = digits(hours) && digits(minutes);
    let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok().filter(|m| *m < 60)?);
    let seconds = (hours * 60 + minutes) * 60;
    let signed = match text.as_bytes().first()? {
        b'+' => seconds,
        b'-' => -seconds,
        _ => return None,
    };
    Offset::from_seconds(signed).ok().filter(|_| all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets() {
        let seconds = |text| offset(text).map(Offset::seconds);
        assert_eq!(seconds("+02:00"), Some(7200));
        assert_eq!(seconds("-09:30"), Some(-34_200));
        for bad in ["", "+", "02:00", "+2:00", "+02:60", "+99:00", "+0200", "é:00", "+-1:00"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_zone_that_there_is_not_gets_advice() {
        assert!(
            find("UTC").is_ok() && find("utc").is_ok() && find("local").is_ok() && find("-05:00").is_ok()
        );
        let error = find("Middle/Earth").unwrap_err().to_string();
        assert!(error.contains("Middle/Earth") && error.contains("+02:00"), "{error}");
    }
}
