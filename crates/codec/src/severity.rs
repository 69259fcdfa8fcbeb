//! What the levels of common loggers are in the OpenTelemetry logs data model.
//!
//! | number | name | winston | syslog | bunyan, pino |
//! |---|---|---|---|---|
//! | 1 | TRACE | silly | | 10 |
//! | 5, 6, 7 | DEBUG, DEBUG2, DEBUG3 | debug, verbose, http | debug (5) | 20 |
//! | 9, 10 | INFO, INFO2 | info | info, notice | 30 |
//! | 13 | WARN | warn | warning | 40 |
//! | 17, 18, 19 | ERROR, ERROR2, ERROR3 | error | err, crit, alert | 50 |
//! | 21 | FATAL | | emerg | 60 |
//!
//! Specification: <https://opentelemetry.io/docs/specs/otel/logs/data-model/>, "Severity fields" and appendix B.
//! winston's own levels between info and debug stand in the order that winston gives them.

/// The severity number (1 to 24) of a level's name in any case, or of a bunyan level in digits; `None` for unknown ones.
pub fn number_of_name(level: &str) -> Option<u8> {
    // No name is longer; this also bounds the work on hostile input.
    let level = level.trim();
    if level.len() > 16 {
        return None;
    }
    if let Ok(level) = level.parse() {
        return number_of_bunyan(level);
    }
    let number = match level.to_ascii_lowercase().as_str() {
        "trace" | "silly" | "finest" => 1,
        "finer" => 2,
        "debug" | "dbg" | "fine" => 5,
        "verbose" | "config" => 6,
        "http" => 7,
        "info" | "information" | "informational" | "log" => 9,
        "notice" => 10,
        "warn" | "warning" => 13,
        "error" | "err" | "severe" | "eror" => 17,
        "crit" | "critical" | "dpanic" => 18,
        "alert" | "panic" => 19,
        "fatal" | "emerg" | "emergency" => 21,
        _ => return None,
    };
    Some(number)
}

/// The short name of a severity number without its place within the level: `INFO` for 9 to 12; `None` for what is no such number
/// ("Displaying Severity" of the specification).
pub fn short_name(number: i32) -> Option<&'static str> {
    level(number).map(|(upper, _)| upper)
}

/// The same in lower case, as most loggers and their readers write it.
pub fn lower_name(number: i32) -> Option<&'static str> {
    level(number).map(|(_, lower)| lower)
}

fn level(number: i32) -> Option<(&'static str, &'static str)> {
    Some(match number {
        1..=4 => ("TRACE", "trace"),
        5..=8 => ("DEBUG", "debug"),
        9..=12 => ("INFO", "info"),
        13..=16 => ("WARN", "warn"),
        17..=20 => ("ERROR", "error"),
        21..=24 => ("FATAL", "fatal"),
        _ => return None,
    })
}

/// The severity number of a bunyan or pino level (10 to 69; those between the named ones belong to the one below). Other
/// numbers mean different things to different loggers, so they have none.
pub fn number_of_bunyan(level: i64) -> Option<u8> {
    let number = match level {
        10..20 => 1,
        20..30 => 5,
        30..40 => 9,
        40..50 => 13,
        50..60 => 17,
        60..70 => 21,
        _ => return None,
    };
    Some(number)
}

/// The severity number and the usual short name of a syslog severity (RFC 5424, section 6.2.1, table 2); of the value only the
/// lowest three bits count.
pub fn of_syslog(severity: u8) -> (u8, &'static str) {
    match severity & 7 {
        0 => (21, "emerg"),
        1 => (19, "alert"),
        2 => (18, "crit"),
        3 => (17, "err"),
        4 => (13, "warning"),
        5 => (10, "notice"),
        6 => (9, "info"),
        _ => (5, "debug"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn winston_levels_keep_their_order() {
        let levels = ["silly", "debug", "verbose", "http", "info", "warn", "error"];
        let numbers: Vec<_> = levels.iter().map(|l| number_of_name(l)).collect();
        assert_eq!(numbers, [1, 5, 6, 7, 9, 13, 17].map(Some));
    }

    #[test]
    fn syslog_levels_keep_their_order() {
        let levels = ["debug", "info", "notice", "warning", "err", "crit", "alert", "emerg"];
        let numbers: Vec<_> = levels.iter().map(|l| number_of_name(l)).collect();
        assert_eq!(numbers, [5, 9, 10, 13, 17, 18, 19, 21].map(Some));
        // By name and by code they are the same.
        let by_code = (0..8).rev().map(of_syslog).map(|(number, name)| (name, Some(number)));
        assert!(by_code.eq(levels.into_iter().zip(numbers)));
    }

    #[test]
    fn numbers_and_spellings() {
        assert_eq!(number_of_name(" ERROR "), Some(17));
        assert_eq!(number_of_name("30"), Some(9));
        assert_eq!(number_of_bunyan(35), Some(9));
        for unknown in [0, 7, 9, 70, 100, -10] {
            assert_eq!(number_of_bunyan(unknown), None);
        }
        assert_eq!(number_of_name("whatever"), None);
        assert_eq!(number_of_name(""), None);
    }
}
