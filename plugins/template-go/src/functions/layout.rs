//! Go's date layouts (package `time`, "Layout"): a layout is an example of how 2006-01-02 15:04:05 MST would look.

use crate::value::Time;

/// A date and a time of day in some offset.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u32,
    /// 1 to 31.
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
    pub(crate) nanosecond: u32,
    pub(crate) offset_s: i32,
}

const DAY_S: i64 = 86_400;
const NS: i128 = 1_000_000_000;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Days since 1970-01-01 of a date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month = i64::from(month);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01 (Hinnant, `civil_from_days`).
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = (if shifted < 10 { shifted + 3 } else { shifted - 9 }) as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl Civil {
    /// How `time` reads in the offset it carries.
    pub(crate) fn of(time: &Time) -> Civil {
        let seconds = time.unix_ns.div_euclid(NS) as i64 + i64::from(time.offset_s);
        let (year, month, day) = civil_from_days(seconds.div_euclid(DAY_S));
        let of_day = seconds.rem_euclid(DAY_S) as u32;
        Civil {
            year,
            month,
            day,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            nanosecond: time.unix_ns.rem_euclid(NS) as u32,
            offset_s: time.offset_s,
        }
    }

    /// The moment it names.
    pub(crate) fn time(&self) -> Time {
        let of_day = self.hour * 3600 + self.minute * 60 + self.second;
        let seconds = self.days() * DAY_S + i64::from(of_day) - i64::from(self.offset_s);
        Time { unix_ns: i128::from(seconds) * NS + i128::from(self.nanosecond), offset_s: self.offset_s }
    }

    fn days(&self) -> i64 {
        days_from_civil(self.year, self.month, self.day)
    }

    fn weekday(&self) -> usize {
        (self.days() + 4).rem_euclid(7) as usize
    }

    fn year_day(&self) -> i64 {
        self.days() - days_from_civil(self.year, 1, 1) + 1
    }
}

/// What an element of a layout stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Element {
    LongYear,
    Year,
    LongMonth,
    ShortMonth,
    ZeroMonth,
    Month,
    ZeroDay,
    SpaceDay,
    Day,
    ZeroYearDay,
    LongWeekday,
    ShortWeekday,
    Hour24,
    ZeroHour12,
    Hour12,
    ZeroMinute,
    Minute,
    ZeroSecond,
    Second,
    UpperHalf,
    LowerHalf,
    ZoneName,
    Zone(Zone),
}

/// How an offset is written: `Z` for none?, colons?, how many parts.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Zone {
    z: bool,
    colons: bool,
    parts: u8,
}

const fn zone(z: bool, colons: bool, parts: u8) -> Element {
    Element::Zone(Zone { z, colons, parts })
}

/// The elements, those that begin alike with the longest first.
const ELEMENTS: &[(&str, Element)] = &[
    ("January", Element::LongMonth),
    ("Jan", Element::ShortMonth),
    ("Monday", Element::LongWeekday),
    ("Mon", Element::ShortWeekday),
    ("MST", Element::ZoneName),
    ("002", Element::ZeroYearDay),
    ("01", Element::ZeroMonth),
    ("02", Element::ZeroDay),
    ("03", Element::ZeroHour12),
    ("04", Element::ZeroMinute),
    ("05", Element::ZeroSecond),
    ("06", Element::Year),
    ("2006", Element::LongYear),
    ("_2006", Element::LongYear),
    ("_2", Element::SpaceDay),
    ("15", Element::Hour24),
    ("PM", Element::UpperHalf),
    ("pm", Element::LowerHalf),
    ("-07:00:00", zone(false, true, 3)),
    ("-070000", zone(false, false, 3)),
    ("-07:00", zone(false, true, 2)),
    ("-0700", zone(false, false, 2)),
    ("-07", zone(false, false, 1)),
    ("Z07:00:00", zone(true, true, 3)),
    ("Z070000", zone(true, false, 3)),
    ("Z07:00", zone(true, true, 2)),
    ("Z0700", zone(true, false, 2)),
    ("Z07", zone(true, false, 1)),
    ("1", Element::Month),
    ("2", Element::Day),
    ("3", Element::Hour12),
    ("4", Element::Minute),
    ("5", Element::Second),
];

/// A piece of a layout.
enum Piece<'l> {
    Element(Element),
    /// A fraction of a second: the point or comma, how many digits, and whether zeros at its end are left out.
    Fraction(char, usize, bool),
    Text(&'l str),
}

/// Cuts the first piece off a layout.
fn next_piece<'l>(layout: &mut &'l str) -> Option<Piece<'l>> {
    let text: &'l str = layout;
    let first = text.chars().next()?;
    for (written, element) in ELEMENTS {
        let Some(rest) = text.strip_prefix(written) else {
            continue;
        };
        if *written == "Jan" && rest.starts_with(|c: char| c.is_ascii_lowercase())
            || *written == "Mon" && rest.starts_with(|c: char| c.is_ascii_lowercase())
        {
            continue;
        }
        if *written == "_2006" {
            *layout = text.get(1..)?;
            return Some(Piece::Text("_"));
        }
        *layout = rest;
        return Some(Piece::Element(*element));
    }
    if matches!(first, '.' | ',')
        && let Some(digit @ (b'0' | b'9')) = text.as_bytes().get(1)
    {
        let digits = text.bytes().skip(1).take_while(|b| b == digit).count();
        let rest = text.get(digits + 1..)?;
        if !rest.starts_with(|c: char| c.is_ascii_digit()) {
            *layout = rest;
            return Some(Piece::Fraction(first, digits, *digit == b'9'));
        }
    }
    let (piece, rest) = text.split_at_checked(first.len_utf8())?;
    *layout = rest;
    Some(Piece::Text(piece))
}

/// `time` written after `layout`, in the offset it carries.
pub(crate) fn format(time: &Time, layout: &str) -> String {
    let civil = Civil::of(time);
    let mut out = String::with_capacity(layout.len() + 8);
    let mut rest = layout;
    while let Some(piece) = next_piece(&mut rest) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Element(element) => write_element(&mut out, element, &civil),
            Piece::Fraction(point, digits, trim) => {
                let all = format!("{:09}", civil.nanosecond);
                let mut shown = all.get(..digits.min(9)).unwrap_or_default();
                if trim {
                    shown = shown.trim_end_matches('0');
                }
                if !shown.is_empty() {
                    out.push(point);
                    out.push_str(shown);
                }
            }
        }
    }
    out
}

fn write_element(out: &mut String, element: Element, civil: &Civil) {
    use std::fmt::Write;
    let hour12 = match civil.hour % 12 {
        0 => 12,
        hour => hour,
    };
    let month = MONTHS.get(civil.month as usize - 1).copied().unwrap_or_default();
    let weekday = WEEKDAYS.get(civil.weekday()).copied().unwrap_or_default();
    let _ = match element {
        Element::LongYear => write!(out, "{:04}", civil.year),
        Element::Year => write!(out, "{:02}", civil.year.rem_euclid(100)),
        Element::LongMonth => write!(out, "{month}"),
        Element::ShortMonth => write!(out, "{month:.3}"),
        Element::ZeroMonth => write!(out, "{:02}", civil.month),
        Element::Month => write!(out, "{}", civil.month),
        Element::ZeroDay => write!(out, "{:02}", civil.day),
        Element::SpaceDay => write!(out, "{:2}", civil.day),
        Element::Day => write!(out, "{}", civil.day),
        Element::ZeroYearDay => write!(out, "{:03}", civil.year_day()),
        Element::LongWeekday => write!(out, "{weekday}"),
        Element::ShortWeekday => write!(out, "{weekday:.3}"),
        Element::Hour24 => write!(out, "{:02}", civil.hour),
        Element::ZeroHour12 => write!(out, "{hour12:02}"),
        Element::Hour12 => write!(out, "{hour12}"),
        Element::ZeroMinute => write!(out, "{:02}", civil.minute),
        Element::Minute => write!(out, "{}", civil.minute),
        Element::ZeroSecond => write!(out, "{:02}", civil.second),
        Element::Second => write!(out, "{}", civil.second),
        Element::UpperHalf => write!(out, "{}", if civil.hour < 12 { "AM" } else { "PM" }),
        Element::LowerHalf => write!(out, "{}", if civil.hour < 12 { "am" } else { "pm" }),
        Element::ZoneName if civil.offset_s == 0 => write!(out, "UTC"),
        Element::ZoneName => {
            // Go, too, writes the offset of a zone without a name.
            let parts = if civil.offset_s % 3600 == 0 { 1 } else { 2 };
            write_offset(out, Zone { z: false, colons: false, parts }, civil.offset_s);
            Ok(())
        }
        Element::Zone(zone) => {
            write_offset(out, zone, civil.offset_s);
            Ok(())
        }
    };
}

fn write_offset(out: &mut String, zone: Zone, offset_s: i32) {
    use std::fmt::Write;
    if zone.z && offset_s == 0 {
        out.push('Z');
        return;
    }
    let size = offset_s.unsigned_abs();
    let _ = write!(out, "{}{:02}", if offset_s < 0 { '-' } else { '+' }, size / 3600);
    let separator = if zone.colons { ":" } else { "" };
    if zone.parts > 1 {
        let _ = write!(out, "{separator}{:02}", size / 60 % 60);
    }
    if zone.parts > 2 {
        let _ = write!(out, "{separator}{:02}", size % 60);
    }
}

/// Reads `text` as `layout` describes; no zone means UTC.
pub(crate) fn parse(layout: &str, text: &str) -> Option<Time> {
    let mut civil = Civil { year: 0, month: 1, day: 1, ..Civil::default() };
    let mut half: Option<bool> = None;
    let mut year_day = None;
    let (mut layout, mut text) = (layout, text);
    while let Some(piece) = next_piece(&mut layout) {
        match piece {
            Piece::Text(expected) => text = text.strip_prefix(expected)?,
            Piece::Fraction(_, digits, trim) => fraction(&mut text, &mut civil, (!trim).then_some(digits))?,
            Piece::Element(Element::UpperHalf | Element::LowerHalf) => {
                let (word, rest) = text.split_at_checked(2)?;
                half = Some(match word.to_ascii_uppercase().as_str() {
                    "AM" => false,
                    "PM" => true,
                    _ => return None,
                });
                text = rest;
            }
            Piece::Element(Element::ZeroYearDay) => year_day = Some(digits(&mut text, 3, 3)?),
            Piece::Element(element) => {
                read_element(&mut text, element, &mut civil)?;
                // A fraction may follow the seconds even if the layout names none.
                let seconds = matches!(element, Element::ZeroSecond | Element::Second);
                if seconds && text.starts_with(['.', ',']) && !layout.starts_with(['.', ',']) {
                    fraction(&mut text, &mut civil, None)?;
                }
            }
        }
    }
    match half {
        Some(true) if civil.hour < 12 => civil.hour += 12,
        Some(false) if civil.hour == 12 => civil.hour = 0,
        _ => {}
    }
    if let Some(day) = year_day {
        let (_, month, of_month) = civil_from_days(days_from_civil(civil.year, 1, 1) + i64::from(day) - 1);
        (civil.month, civil.day) = (month, of_month);
    }
    let valid = text.is_empty()
        && (1..=12).contains(&civil.month)
        && (1..=31).contains(&civil.day)
        && civil_from_days(civil.days()) == (civil.year, civil.month, civil.day)
        && civil.hour < 24
        && civil.minute < 60
        && civil.second < 60;
    valid.then(|| civil.time())
}

fn digits(text: &mut &str, least: usize, most: usize) -> Option<u32> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    let (number, rest) = text.split_at_checked(count)?;
    *text = rest;
    number.parse().ok()
}

fn fraction(text: &mut &str, civil: &mut Civil, exactly: Option<usize>) -> Option<()> {
    let Some(rest) = text.strip_prefix(['.', ',']) else {
        // A trimmed fraction may be absent.
        return exactly.is_none().then_some(());
    };
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 || exactly.is_some_and(|exactly| exactly != count) {
        return None;
    }
    let (number, rest) = rest.split_at_checked(count)?;
    let nine: String = number.chars().chain("000000000".chars()).take(9).collect();
    civil.nanosecond = nine.parse().ok()?;
    *text = rest;
    Some(())
}

fn named(text: &mut &str, names: &[&str], long: bool) -> Option<u32> {
    for (number, name) in (0..).zip(names) {
        let name = if long { name } else { name.get(..3)? };
        if let Some((head, rest)) = text.split_at_checked(name.len())
            && head.eq_ignore_ascii_case(name)
        {
            *text = rest;
            return Some(number);
        }
    }
    None
}

fn read_element(text: &mut &str, element: Element, civil: &mut Civil) -> Option<()> {
    match element {
        Element::LongYear => civil.year = digits(text, 4, 4)?.into(),
        Element::Year => {
            let year = i64::from(digits(text, 2, 2)?);
            civil.year = if year >= 69 { 1900 + year } else { 2000 + year };
        }
        Element::LongMonth => civil.month = named(text, &MONTHS, true)? + 1,
        Element::ShortMonth => civil.month = named(text, &MONTHS, false)? + 1,
        Element::ZeroMonth => civil.month = digits(text, 2, 2)?,
        Element::Month => civil.month = digits(text, 1, 2)?,
        Element::ZeroDay => civil.day = digits(text, 2, 2)?,
        Element::SpaceDay => {
            *text = text.trim_start_matches(' ');
            civil.day = digits(text, 1, 2)?;
        }
        Element::Day => civil.day = digits(text, 1, 2)?,
        Element::LongWeekday => drop(named(text, &WEEKDAYS, true)?),
        Element::ShortWeekday => drop(named(text, &WEEKDAYS, false)?),
        Element::Hour24 => civil.hour = digits(text, 2, 2)?,
        Element::ZeroHour12 => civil.hour = digits(text, 2, 2)?,
        Element::Hour12 => civil.hour = digits(text, 1, 2)?,
        Element::ZeroMinute => civil.minute = digits(text, 2, 2)?,
        Element::Minute => civil.minute = digits(text, 1, 2)?,
        Element::ZeroSecond => civil.second = digits(text, 2, 2)?,
        Element::Second => civil.second = digits(text, 1, 2)?,
        Element::ZoneName => {
            let rest = text.strip_prefix("UTC").or_else(|| text.strip_prefix("GMT"));
            *text = rest?;
        }
        Element::Zone(zone) => civil.offset_s = read_offset(text, zone)?,
        Element::UpperHalf | Element::LowerHalf | Element::ZeroYearDay => {}
    }
    Some(())
}

fn read_offset(text: &mut &str, zone: Zone) -> Option<i32> {
    if zone.z
        && let Some(rest) = text.strip_prefix('Z')
    {
        *text = rest;
        return Some(0);
    }
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    *text = text.get(1..)?;
    let mut offset = 0;
    for (part, unit) in (0..zone.parts).zip([3600, 60, 1]) {
        if part > 0 && zone.colons {
            *text = text.strip_prefix(':')?;
        }
        offset += i32::try_from(digits(text, 2, 2)?).ok()? * unit;
    }
    (offset <= 86_400).then_some(sign * offset)
}
