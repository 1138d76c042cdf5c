//! How a pool scales on its sessions: the policy that a person writes, and what status keeps of the past, so that an
//! operator that starts anew goes on with the windows of the one before.
//!
//! Types only; `decide::scale` says what they mean, `docs/scaling.md` explains them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the number of relays follows the sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.minReplicas <= self.maxReplicas", "minReplicas must not be above maxReplicas"))]
#[x_kube(validation = (
    "!has(self.schedules) || self.schedules.all(schedule, schedule.minReplicas <= self.maxReplicas)",
    "minReplicas of a schedule must not be above maxReplicas"
))]
pub struct Scaling {
    /// The fewest relays, 1 to 64; with `scaleToZero`, the fewest while the pool is used.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub min_replicas: i32,
    /// The most relays, 1 to 64. Lowering it below what runs drains the rest at once.
    #[schemars(range(min = 1, max = 64))]
    pub max_replicas: i32,
    /// Seats kept free for sessions that come while another relay starts. Default: 20 percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<Buffer>,
    /// How fast the pool may grow.
    #[serde(default)]
    pub up: ScaleUp,
    /// How fast the pool may shrink.
    #[serde(default)]
    pub down: ScaleDown,
    /// Times at which there are more relays than `minReplicas`, whatever the load; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub schedules: Vec<Schedule>,
    /// Leave no relay while nobody uses the pool. Default: `minReplicas` stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_to_zero: Option<ScaleToZero>,
    /// Start relays before the time at which they were needed in the past. Default: do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
}

/// Free seats. Exactly one member is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.seats), has(self.percent)].filter(x, x).size() == 1", "exactly one of seats, percent must be set"))]
pub struct Buffer {
    /// So many seats, 0 to 100,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub seats: Option<i32>,
    /// So much of all seats, in percent, 0 to 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 90))]
    pub percent: Option<i32>,
}

/// How fast a pool grows: in each period by the larger of the two steps. Floors (`minReplicas`, schedules) are reached at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.stepReplicas > 0 || self.stepPercent > 0", "stepReplicas or stepPercent must be above 0: the pool could not grow"))]
pub struct ScaleUp {
    /// For how many seconds more relays must have been needed, 0 to 3,600: the lowest need of that time counts. 0 = at once.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3600))]
    pub window_seconds: i32,
    /// Seconds of one period, 1 to 1,800.
    #[serde(default = "up_period")]
    #[schemars(range(min = 1, max = 1800))]
    pub period_seconds: i32,
    /// Relays that may be added in a period, 0 to 64.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 64))]
    pub step_replicas: i32,
    /// Relays that may be added in a period, in percent of those that there were when it began, rounded up, 0 to 1,000. 100 = double.
    #[serde(default = "double")]
    #[schemars(range(min = 0, max = 1000))]
    pub step_percent: i32,
}

/// How fast a pool shrinks: in each period by the larger of the two steps. While the occupancy of a relay is unknown, it
/// does not shrink, and the window stands still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.stepReplicas > 0 || self.stepPercent > 0", "stepReplicas or stepPercent must be above 0: the pool could not shrink"))]
pub struct ScaleDown {
    /// For how many seconds fewer relays must have been enough, 0 to 3,600: the highest need of that time counts.
    #[serde(default = "down_window")]
    #[schemars(range(min = 0, max = 3600))]
    pub window_seconds: i32,
    /// Seconds of one period, 1 to 1,800.
    #[serde(default = "down_period")]
    #[schemars(range(min = 1, max = 1800))]
    pub period_seconds: i32,
    /// Relays that may leave in a period, 0 to 64.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 64))]
    pub step_replicas: i32,
    /// Relays that may leave in a period, in percent of those that there were when it began, rounded up, 0 to 100.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub step_percent: i32,
}

fn one() -> i32 {
    1
}

fn double() -> i32 {
    100
}

fn up_period() -> i32 {
    15
}

fn down_window() -> i32 {
    300
}

fn down_period() -> i32 {
    60
}

impl Default for ScaleUp {
    fn default() -> Self {
        Self { window_seconds: 0, period_seconds: up_period(), step_replicas: one(), step_percent: double() }
    }
}

impl Default for ScaleDown {
    fn default() -> Self {
        Self { window_seconds: down_window(), period_seconds: down_period(), step_replicas: one(), step_percent: 0 }
    }
}

/// From each `start` to the next `end`, at least so many relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Name, said in decisions.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// When it begins: minute, hour, day of month, month, day of week, as in cron; `0 8 * * MON-FRI`.
    #[schemars(length(min = 1, max = 100))]
    pub start: String,
    /// When it ends, in the same form.
    #[schemars(length(min = 1, max = 100))]
    pub end: String,
    /// Time zone of both, by its IANA name; `Europe/Berlin`. Default: `UTC`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// The fewest relays meanwhile, 1 to 64.
    #[schemars(range(min = 1, max = 64))]
    pub min_replicas: i32,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// When the last relays leave. A request that waits for a seat, or a lease, brings them back at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleToZero {
    /// Seconds without a session, a lease or a waiting request, 60 to 604,800.
    #[serde(default = "idle_seconds")]
    #[schemars(range(min = 60, max = 604_800))]
    pub after_seconds: i32,
}

fn idle_seconds() -> i32 {
    1800
}

/// A forecast from what was needed at the same time of earlier days or weeks. It can only raise the number of relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// After which time the load repeats. Default: `Week`.
    #[serde(default)]
    pub season: Season,
    /// How many seconds it looks ahead, 0 to 3,600: longer than a relay takes to serve.
    #[serde(default = "ahead_seconds")]
    #[schemars(range(min = 0, max = 3600))]
    pub ahead_seconds: i32,
    /// Time zone of the season, by its IANA name. Default: `UTC`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
}

fn ahead_seconds() -> i32 {
    600
}

/// After which time the load repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Season {
    /// Each day is like the day before.
    Day,
    /// Each day is like the same day of the week before.
    #[default]
    Week,
}

/// What scaling remembers. It changes only when something happened, so a pool at rest is not written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingPast {
    /// How many relays were decided on last.
    #[serde(default)]
    pub replicas: i32,
    /// How many the load needed then, without windows and steps.
    #[serde(default)]
    pub needed: i32,
    /// Higher needs that have ended, the highest first; what a window of `down` looks at. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub peaks: Vec<PastNeed>,
    /// Lower needs that have ended, the lowest first; what a window of `up` looks at. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub troughs: Vec<PastNeed>,
    /// The last changes, the oldest first; what steps are counted from. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub changes: Vec<PastChange>,
    /// Since when nobody uses the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_since: Option<MicroTime>,
    /// Since when something that must be known to shrink is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<MicroTime>,
    /// What earlier days or weeks needed, for `forecast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<PastSeason>,
}

/// A need that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastNeed {
    /// So many relays were needed.
    pub replicas: i32,
    /// When that was last so. Time in which something was unknown is left out.
    pub until: MicroTime,
}

/// A change of the number of relays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastChange {
    /// When.
    pub at: MicroTime,
    /// How many there were to be before.
    pub from: i32,
    /// And after.
    pub to: i32,
}

/// What was needed at each time of a season.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastSeason {
    /// Most seats asked for in each half hour of the season, smoothed; −1 where nothing was seen yet. At most 336.
    #[schemars(length(max = 336))]
    pub peaks: Vec<i32>,
    /// The half hour that runs.
    pub slot: i32,
    /// Most seats asked for in it so far.
    pub peak: i32,
}

#[cfg(test)]
mod tests {
    use schemars::generate::SchemaSettings;
    use serde_json::{Value, json};

    use super::*;

    /// All properties below a schema, by path.
    fn properties(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            found.push((path.clone(), property.clone()));
            properties(property, &path, found);
            properties(&property["items"], &path, found);
            for choice in property["anyOf"].as_array().into_iter().flatten() {
                properties(choice, &path, found);
            }
        }
    }

    #[test]
    fn the_schema_explains_and_bounds_every_field() {
        let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
        for schema in [
            settings.clone().into_generator().into_root_schema_for::<Scaling>(),
            settings.into_generator().into_root_schema_for::<ScalingPast>(),
        ] {
            let mut found = Vec::new();
            properties(schema.as_value(), "", &mut found);
            assert!(found.len() >= 15, "{found:?}");
            for (path, property) in found {
                assert!(property["description"].is_string(), "{path} has no description");
                let bounded = property["type"] != "array" || property["maxItems"].is_number();
                assert!(bounded, "{path} has no bound");
            }
        }
        let schema = schemars::schema_for!(Scaling);
        let text = serde_json::to_string(&schema).expect("a schema is JSON");
        for rule in ["minReplicas must not be above maxReplicas", "exactly one of seats, percent must be set"] {
            assert!(text.contains(rule), "no rule says: {rule}");
        }
    }

    #[test]
    fn defaults_are_those_that_are_documented() {
        let read: Scaling = serde_json::from_value(json!({"maxReplicas": 5})).expect("a policy");
        let expected = json!({
            "minReplicas": 1,
            "maxReplicas": 5,
            "up": {"windowSeconds": 0, "periodSeconds": 15, "stepReplicas": 1, "stepPercent": 100},
            "down": {"windowSeconds": 300, "periodSeconds": 60, "stepReplicas": 1, "stepPercent": 0},
        });
        assert_eq!(serde_json::to_value(read).expect("JSON"), expected);
        let some: Scaling = serde_json::from_value(
            json!({"maxReplicas": 5, "up": {"stepReplicas": 4}, "scaleToZero": {}, "forecast": {}}),
        )
        .expect("a policy");
        assert_eq!((some.up.step_replicas, some.up.step_percent), (4, 100));
        assert_eq!(some.scale_to_zero.map(|zero| zero.after_seconds), Some(1800));
        let forecast = some.forecast.expect("a forecast");
        assert_eq!((forecast.season, forecast.ahead_seconds, forecast.time_zone.as_str()), (Season::Week, 600, "UTC"));
    }
}
