//! Which fault meets which request: a plan of rules, and the counting that goes with it. Plain functions of values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::target::Target;

/// What happens to a request, or to an event of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Fault {
    /// It waits until it is released, before it is sent or after it was answered.
    Hold {
        /// On which side of the commit.
        side: Side,
    },
    /// It is never sent; its connection is closed.
    Drop,
    /// It is sent and takes effect; its connection is closed instead of an answer.
    LoseAnswer,
    /// It is sent; the answer breaks off after so many bytes of its body.
    CutAnswer {
        /// Bytes that still come.
        after_bytes: usize,
    },
    /// It is sent later.
    Delay {
        /// How much later.
        milliseconds: u64,
    },
    /// It is answered in the server's place.
    Answer {
        /// Status code, such as 409, 429, 500, 503, 504.
        status: u16,
        /// Header Retry-After, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
        /// Whether it was sent, and took effect, before.
        #[serde(default)]
        committed: bool,
    },
    /// A list or an object is answered as it was when that was recorded; what was never recorded gets 503.
    Replay,
    /// The watch ends with 410 Gone instead of this event.
    Gone,
    /// From this event on nothing comes, and the connection stays open; once the rule is gone, it is closed.
    Stall,
    /// This event never comes.
    Swallow,
}

impl Fault {
    /// Whether it meets events of watches, and not requests.
    pub fn meets_events(&self) -> bool {
        matches!(self, Self::Gone | Self::Stall | Self::Swallow)
    }
}

/// Side of the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// The server has not seen it.
    Before,
    /// The server has answered, the client does not know.
    After,
}

/// Which requests, or events, a rule is about. What is empty fits all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct When {
    /// Names of doors.
    pub clients: Vec<String>,
    /// Verbs as in RBAC; `write` is every verb that can change something, `read` every other.
    pub verbs: Vec<String>,
    /// Plurals, with the subresource: `pods`, `pods/status`; `*/status` is that of any.
    pub resources: Vec<String>,
    /// Namespaces.
    pub namespaces: Vec<String>,
    /// Names of objects; of an event, of its object.
    pub names: Vec<String>,
}

impl When {
    fn fits(&self, client: &str, target: &Target) -> bool {
        let any = |wanted: &[String], fits: &dyn Fn(&str) -> bool| {
            wanted.is_empty() || wanted.iter().any(|wanted| fits(wanted))
        };
        any(&self.clients, &|wanted| wanted == client)
            && any(&self.verbs, &|wanted| match wanted {
                "write" => target.verb.mutates(),
                "read" => !target.verb.mutates(),
                verb => verb == target.verb.as_str(),
            })
            && any(&self.resources, &|wanted| match wanted.strip_prefix('*') {
                Some(subresource) => !subresource.is_empty() && target.resource.ends_with(subresource),
                None => wanted == target.resource,
            })
            && any(&self.namespaces, &|wanted| wanted == target.namespace)
            && any(&self.names, &|wanted| wanted == target.name)
    }
}

/// One fault, and where it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// What it is about.
    #[serde(default)]
    pub when: When,
    /// So many that fit go untouched before.
    #[serde(default)]
    pub skip: u32,
    /// So many are met after those; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Count for each verb and object apart, and not for all together.
    #[serde(default)]
    pub each: bool,
    /// What happens.
    pub fault: Fault,
}

impl Rule {
    /// Meets everything that fits `when`.
    pub fn always(when: When, fault: Fault) -> Self {
        Self { when, skip: 0, times: None, each: false, fault }
    }

    /// Meets only the `nth` that fits, from 1 on.
    pub fn nth(when: When, nth: u32, fault: Fault) -> Self {
        Self { skip: nth.saturating_sub(1), times: Some(1), ..Self::always(when, fault) }
    }
}

/// Rules, in order: the first that fits and still counts decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A plan, and how often each of its rules has been asked.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    plan: Plan,
    counts: Vec<BTreeMap<Option<Target>, u32>>,
}

impl Counted {
    /// A plan of which nothing was asked yet.
    pub fn new(plan: Plan) -> Self {
        let counts = vec![BTreeMap::new(); plan.rules.len()];
        Self { plan, counts }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What happens to this request.
    pub fn request(&mut self, client: &str, target: &Target) -> Option<Fault> {
        self.meet(client, target, false)
    }

    /// What happens to this event of a watch; `target` has the watch's verb and resource, and the object's name.
    pub fn event(&mut self, client: &str, target: &Target) -> Option<Fault> {
        self.meet(client, target, true)
    }

    fn meet(&mut self, client: &str, target: &Target, event: bool) -> Option<Fault> {
        for (rule, counts) in self.plan.rules.iter().zip(&mut self.counts) {
            if rule.fault.meets_events() != event || !rule.when.fits(client, target) {
                continue;
            }
            let count = counts.entry(rule.each.then(|| target.clone())).or_default();
            let before = *count;
            *count = count.saturating_add(1);
            let last = rule.times.map(|times| rule.skip.saturating_add(times));
            if before >= rule.skip && last.is_none_or(|last| before < last) {
                return Some(rule.fault.clone());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Verb;

    fn target(verb: Verb, resource: &str, name: &str) -> Target {
        Target { verb, resource: resource.to_owned(), namespace: "x".to_owned(), name: name.to_owned() }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn counted(rules: Vec<Rule>) -> Counted {
        Counted::new(Plan { rules })
    }

    #[test]
    fn what_is_empty_fits_all_and_what_is_not_fits_only_that() {
        let pod = target(Verb::Create, "pods", "a-0");
        let status = target(Verb::Patch, "lobbies/status", "demo");
        assert!(When::default().fits("any", &pod));
        let cases = [
            (When { clients: words(&["first"]), ..When::default() }, false, false),
            (When { verbs: words(&["write"]), ..When::default() }, true, true),
            (When { verbs: words(&["read"]), ..When::default() }, false, false),
            (When { verbs: words(&["create", "get"]), ..When::default() }, true, false),
            (When { resources: words(&["pods"]), ..When::default() }, true, false),
            (When { resources: words(&["lobbies"]), ..When::default() }, false, false),
            (When { resources: words(&["*/status"]), ..When::default() }, false, true),
            (When { names: words(&["demo"]), ..When::default() }, false, true),
            (When { namespaces: words(&["y"]), ..When::default() }, false, false),
        ];
        for (when, of_pod, of_status) in cases {
            assert_eq!((when.fits("second", &pod), when.fits("second", &status)), (of_pod, of_status), "{when:?}");
        }
    }

    #[test]
    fn a_rule_meets_as_many_as_it_says() {
        let pod = target(Verb::Create, "pods", "a-0");
        let mut rules = counted(vec![Rule::nth(When::default(), 2, Fault::Drop)]);
        let met: Vec<bool> = (0..4).map(|_| rules.request("c", &pod).is_some()).collect();
        assert_eq!(met, [false, true, false, false]);
        let each = Rule { each: true, times: Some(1), ..Rule::always(When::default(), Fault::Drop) };
        let mut rules = counted(vec![each]);
        let met: Vec<bool> =
            ["a", "b", "a"].iter().map(|name| rules.request("c", &target(Verb::Get, "pods", name)).is_some()).collect();
        assert_eq!(met, [true, true, false]);
    }

    #[test]
    fn the_first_rule_that_still_counts_decides() {
        let pod = target(Verb::Create, "pods", "a-0");
        let later = Rule::always(When::default(), Fault::LoseAnswer);
        let mut rules = counted(vec![Rule::nth(When::default(), 1, Fault::Drop), later]);
        assert_eq!(rules.request("c", &pod), Some(Fault::Drop));
        assert_eq!(rules.request("c", &pod), Some(Fault::LoseAnswer));
    }

    #[test]
    fn faults_of_watches_meet_events_and_no_requests() {
        let watch = target(Verb::Watch, "pods", "");
        let mut rules = counted(vec![
            Rule::always(When::default(), Fault::Swallow),
            Rule::always(When::default(), Fault::Delay { milliseconds: 1 }),
        ]);
        assert_eq!(rules.request("c", &watch), Some(Fault::Delay { milliseconds: 1 }));
        assert_eq!(rules.event("c", &watch), Some(Fault::Swallow));
    }

    #[test]
    fn a_plan_is_json_that_people_write() {
        let text = r#"{"rules": [
            {"when": {"verbs": ["create"], "resources": ["pods"]}, "skip": 1, "times": 1, "fault": {"hold": {"side": "after"}}},
            {"when": {"clients": ["first"]}, "fault": {"answer": {"status": 429, "retryAfter": 1}}},
            {"fault": "gone"}
        ]}"#;
        let plan: Plan = serde_json::from_str(text).expect("a plan");
        let [hold, answer, gone] = &plan.rules[..] else { panic!("three rules") };
        assert_eq!(hold.fault, Fault::Hold { side: Side::After });
        assert_eq!(answer.fault, Fault::Answer { status: 429, retry_after: Some(1), committed: false });
        assert_eq!((&gone.fault, &gone.when), (&Fault::Gone, &When::default()));
        let again: Plan = serde_json::from_str(&serde_json::to_string(&plan).expect("JSON")).expect("a plan");
        assert_eq!(again, plan);
        assert!(
            serde_json::from_str::<Plan>(r#"{"rules": [{"wen": {}, "fault": "drop"}]}"#).is_err(),
            "a slip is told"
        );
    }
}
