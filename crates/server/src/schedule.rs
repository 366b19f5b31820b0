//! What a playlist plays at a time: pure, of the playlist's words and an instant.
//!
//! An item may be bound to dates, days of the week and hours, all on the clock of the playlist's time
//! zone. Hours that end before they begin run over midnight and belong to the day on which they
//! began: 22:00 to 06:00 on Fridays is also Saturday at two. Where the clock is put forward, hours
//! that do not exist are skipped; where it is put back, they come twice.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Unit};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What screens play, in order, over and over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    /// Whose clock the dates and hours are on, by its name in the time zone database.
    #[serde(default = "utc")]
    #[schema(example = "Europe/Berlin", default = "UTC")]
    pub(crate) time_zone: String,
    /// What is played, in this order. 1000 at most.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub(crate) items: Vec<Item>,
}

/// One place of a playlist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    /// The asset's identifier.
    pub(crate) asset: String,
    /// Seconds that an image is shown; a video ends by itself.
    #[serde(default = "ten")]
    #[schema(minimum = 1, maximum = 86400, default = 10)]
    pub(crate) duration_s: u32,
    /// Whether it is played at all.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub(crate) enabled: bool,
    /// The first day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date, example = "2026-12-01")]
    pub(crate) from: Option<Date>,
    /// The last day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date, example = "2026-12-24")]
    pub(crate) to: Option<Date>,
    /// The days of the week; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 7)]
    pub(crate) days: Vec<Day>,
    /// The hours of those days; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 24)]
    pub(crate) hours: Vec<Hours>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Hours of a day. Equal ones are the whole day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hours {
    /// When they begin, as `HH:MM`.
    #[schema(value_type = String, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", example = "22:00")]
    #[serde(with = "clock")]
    pub(crate) from: Time,
    /// When they are over, as `HH:MM`; on the next day when that is not after `from`.
    #[schema(value_type = String, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", example = "06:00")]
    #[serde(with = "clock")]
    pub(crate) to: Time,
}

/// What plays, and for how long that stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Playing {
    /// Places in the playlist, in their order.
    pub(crate) items: Vec<usize>,
    /// When to ask again at the latest: the next midnight, or end or begin of any hours.
    pub(crate) until: Timestamp,
}

fn utc() -> String {
    "UTC".into()
}

fn ten() -> u32 {
    10
}

fn yes() -> bool {
    true
}

mod clock {
    use jiff::civil::Time;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:02}:{:02}", time.hour(), time.minute()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        let text = String::deserialize(from)?;
        let wrong = || D::Error::custom(format!("not a time as 22:00: {text:?}"));
        let digits = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit() || b == b':');
        let (hour, minute) = text.split_once(':').filter(|_| digits).ok_or_else(wrong)?;
        let hour = hour.parse().map_err(|_| wrong())?;
        let minute = minute.parse().map_err(|_| wrong())?;
        Time::new(hour, minute, 0, 0).map_err(|_| wrong())
    }
}

impl Day {
    fn of(weekday: Weekday) -> Self {
        match weekday {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

impl Program {
    /// What is wrong with it, when something is.
    pub(crate) fn check(&self) -> Result<TimeZone, String> {
        if self.items.len() > 1000 {
            return Err("more than 1000 items".into());
        }
        for (place, item) in self.items.iter().enumerate() {
            let wrong = |why: &str| Err(format!("item {}: {why}", place + 1));
            if item.asset.is_empty() || item.asset.len() > 64 {
                return wrong("names no asset");
            }
            if !(1..=86_400).contains(&item.duration_s) {
                return wrong("duration_s is from 1 to 86400");
            }
            if item.from.zip(item.to).is_some_and(|(from, to)| from > to) {
                return wrong("it ends before it begins");
            }
            if item.hours.len() > 24 || item.days.len() > 7 {
                return wrong("too many hours or days");
            }
        }
        let zone = TimeZone::get(&self.time_zone);
        zone.map_err(|_| format!("no time zone is called {:?}", self.time_zone))
    }

    /// What plays at this instant.
    pub(crate) fn at(&self, zone: &TimeZone, now: Timestamp) -> Playing {
        let clock = zone.to_datetime(now);
        let items = (0..self.items.len())
            .filter(|place| self.items[*place].plays(clock.date(), clock.time()))
            .collect();
        Playing {
            items,
            until: self.edge(zone, now),
        }
    }

    /// The next instant at which something may change.
    fn edge(&self, zone: &TimeZone, now: Timestamp) -> Timestamp {
        let today = zone.to_datetime(now).date();
        let mut times = vec![Time::midnight()];
        times.extend(
            self.items
                .iter()
                .flat_map(|item| &item.hours)
                .flat_map(|h| [h.from, h.to]),
        );
        let days = [Some(today), today.tomorrow().ok()];
        let edges = days.into_iter().flatten().flat_map(|day| {
            let times = &times;
            times.iter().flat_map(move |time| {
                // A time that comes twice is two edges; one that does not come is that of the change.
                let at = zone.to_ambiguous_zoned(day.to_datetime(*time));
                [at.clone().earlier(), at.later()]
            })
        });
        // The clock itself may be put forward or back while nothing begins or ends by it.
        let change = zone.following(now).next().map(|change| change.timestamp());
        edges
            .filter_map(|edge| Some(edge.ok()?.timestamp()))
            .chain(change)
            .filter(|edge| *edge > now)
            .min()
            .unwrap_or_else(|| now.saturating_add(1.hour()).unwrap_or(now))
            .round(Unit::Second)
            .unwrap_or(now)
    }
}

impl Item {
    /// Whether it plays at this time of the clock.
    fn plays(&self, date: Date, time: Time) -> bool {
        if !self.enabled {
            return false;
        }
        let before = date.yesterday().ok();
        let day = |date: Date| {
            self.from.is_none_or(|from| from <= date)
                && self.to.is_none_or(|to| date <= to)
                && (self.days.is_empty() || self.days.contains(&Day::of(date.weekday())))
        };
        if self.hours.is_empty() {
            return day(date);
        }
        self.hours.iter().any(|hours| {
            if hours.from < hours.to {
                hours.from <= time && time < hours.to && day(date)
            } else {
                (hours.from <= time && day(date)) || (time < hours.to && before.is_some_and(day))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn program(zone: &str, item: Value) -> Program {
        let mut item = item;
        item["asset"] = "a".into();
        serde_json::from_value(json!({ "time_zone": zone, "items": [item] })).unwrap()
    }

    /// Whether the one item plays, and until when that stands.
    #[track_caller]
    fn check(zone: &str, item: Value, now: &str, plays: bool, until: &str) {
        let program = program(zone, item);
        let zone = program.check().unwrap();
        let playing = program.at(&zone, now.parse().unwrap());
        assert_eq!(!playing.items.is_empty(), plays, "{now}");
        assert_eq!(playing.until.to_string(), until, "{now}");
    }

    #[test]
    fn dates_days_and_hours() {
        let midnight = "2026-11-21T00:00:00Z";
        let now = "2026-11-20T12:00:00Z";
        for (item, plays, until) in [
            (json!({}), true, midnight),
            (json!({ "enabled": false }), false, midnight),
            (
                json!({ "from": "2026-11-20", "to": "2026-11-20" }),
                true,
                midnight,
            ),
            (json!({ "from": "2026-11-21" }), false, midnight),
            (json!({ "to": "2026-11-19" }), false, midnight),
            (json!({ "days": ["fri"] }), true, midnight),
            (json!({ "days": ["mon", "sat"] }), false, midnight),
            (
                json!({ "hours": [{ "from": "09:00", "to": "12:00" }] }),
                false,
                midnight,
            ),
            (
                json!({ "hours": [{ "from": "12:00", "to": "13:00" }] }),
                true,
                "2026-11-20T13:00:00Z",
            ),
            (
                json!({ "hours": [{ "from": "08:00", "to": "09:00" }, { "from": "11:00", "to": "12:01" }] }),
                true,
                "2026-11-20T12:01:00Z",
            ),
            (
                json!({ "days": ["sat"], "hours": [{ "from": "12:00", "to": "13:00" }] }),
                false,
                "2026-11-20T13:00:00Z",
            ),
            (
                json!({ "hours": [{ "from": "08:00", "to": "08:00" }] }),
                true,
                midnight,
            ),
        ] {
            check("UTC", item, now, plays, until);
        }
    }

    #[test]
    fn over_midnight() {
        let night = json!({ "days": ["fri"], "to": "2026-11-20", "hours": [{ "from": "22:00", "to": "06:00" }] });
        for (now, plays, until) in [
            ("2026-11-20T05:00:00Z", false, "2026-11-20T06:00:00Z"),
            ("2026-11-20T21:59:59Z", false, "2026-11-20T22:00:00Z"),
            ("2026-11-20T22:00:00Z", true, "2026-11-21T00:00:00Z"),
            // The night belongs to Friday, and to the last day.
            ("2026-11-21T05:59:59Z", true, "2026-11-21T06:00:00Z"),
            ("2026-11-21T06:00:00Z", false, "2026-11-21T22:00:00Z"),
            ("2026-11-21T22:30:00Z", false, "2026-11-22T00:00:00Z"),
        ] {
            check("UTC", night.clone(), now, plays, until);
        }
    }

    #[test]
    fn clocks_elsewhere() {
        let noon = json!({ "days": ["fri"], "hours": [{ "from": "12:00", "to": "13:00" }] });
        for (zone, now, plays, until) in [
            (
                "Europe/Berlin",
                "2026-11-20T11:30:00Z",
                true,
                "2026-11-20T12:00:00Z",
            ),
            (
                "Europe/Berlin",
                "2026-11-20T12:30:00Z",
                false,
                "2026-11-20T23:00:00Z",
            ),
            (
                "America/New_York",
                "2026-11-20T17:30:00Z",
                true,
                "2026-11-20T18:00:00Z",
            ),
            (
                "Asia/Kolkata",
                "2026-11-20T06:30:00Z",
                true,
                "2026-11-20T07:30:00Z",
            ),
            // There it is Saturday already.
            (
                "Pacific/Kiritimati",
                "2026-11-20T22:30:00Z",
                false,
                "2026-11-20T23:00:00Z",
            ),
        ] {
            check(zone, noon.clone(), now, plays, until);
        }
    }

    #[test]
    fn when_the_clock_changes() {
        let early = json!({ "hours": [{ "from": "02:15", "to": "02:45" }] });
        let berlin = "Europe/Berlin";
        for (now, plays, until) in [
            // 2026-03-29: two o'clock is three o'clock, so these hours do not come.
            ("2026-03-29T00:59:59Z", false, "2026-03-29T01:00:00Z"),
            ("2026-03-29T01:00:00Z", false, "2026-03-29T01:15:00Z"),
            ("2026-03-29T01:20:00Z", false, "2026-03-29T01:45:00Z"),
            // 2026-10-25: three o'clock is two o'clock, so they come twice.
            ("2026-10-25T00:15:00Z", true, "2026-10-25T00:45:00Z"),
            ("2026-10-25T00:45:00Z", false, "2026-10-25T01:00:00Z"),
            ("2026-10-25T01:15:00Z", true, "2026-10-25T01:45:00Z"),
            ("2026-10-25T01:45:00Z", false, "2026-10-25T23:00:00Z"),
        ] {
            check(berlin, early.clone(), now, plays, until);
        }
        // A whole night across the change is one hour shorter and goes on to its end.
        let night = json!({ "hours": [{ "from": "22:00", "to": "04:00" }] });
        check(
            berlin,
            night.clone(),
            "2026-03-29T01:59:59Z",
            true,
            "2026-03-29T02:00:00Z",
        );
        check(
            berlin,
            night,
            "2026-03-29T02:00:00Z",
            false,
            "2026-03-29T20:00:00Z",
        );
    }

    #[test]
    fn order_is_kept_and_what_is_wrong_is_said() {
        let many = |items: Value| -> Result<Program, serde_json::Error> {
            serde_json::from_value(json!({ "items": items }))
        };
        let three =
            many(json!([{ "asset": "b" }, { "asset": "a", "enabled": false }, { "asset": "a" }]));
        let three = three.unwrap();
        let zone = three.check().unwrap();
        assert_eq!(three.at(&zone, Timestamp::UNIX_EPOCH).items, [0, 2]);
        for (items, words) in [
            (json!([{ "asset": "" }]), "item 1: names no asset"),
            (
                json!([{ "asset": "a" }, { "asset": "a", "duration_s": 0 }]),
                "item 2: duration_s",
            ),
            (
                json!([{ "asset": "a", "from": "2026-02-02", "to": "2026-02-01" }]),
                "ends before",
            ),
        ] {
            let wrong = many(items).unwrap().check().unwrap_err();
            assert!(wrong.contains(words), "{wrong}");
        }
        for items in [
            json!([{ "asset": "a", "hours": [{ "from": "24:00", "to": "01:00" }] }]),
            json!([{ "asset": "a", "hours": [{ "from": "9:00", "to": "10:00" }] }]),
            json!([{ "asset": "a", "from": "2026-02-30" }]),
            json!([{ "asset": "a", "days": ["friday"] }]),
            json!([{ "asset": "a", "more": 1 }]),
        ] {
            assert!(many(items.clone()).is_err(), "{items}");
        }
        let nowhere: Program =
            serde_json::from_value(json!({ "time_zone": "Nowhere/Here" })).unwrap();
        assert!(nowhere.check().is_err());
    }
}
