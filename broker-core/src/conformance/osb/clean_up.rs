//! What cases have made, and how it goes away again.

use serde_json::Value;

use super::calls::{ASYNC, Platform, binding, instance, is_busy, state};
use crate::conformance::{
    End,
    answer::Answer,
    context::{Context, lock},
};

/// What may be there. Bindings sort before instances, and so are removed before them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::conformance) enum Made {
    /// A binding of an instance.
    Binding(String, String),
    Instance(String),
}

impl Made {
    fn path(&self) -> String {
        match self {
            Self::Binding(of, id) => binding(of, id),
            Self::Instance(id) => instance(id),
        }
    }
}

impl Context<'_> {
    /// Removes all that is left in this dialect; says what could not be removed.
    pub(in crate::conformance) async fn clean_up_v2(&self) -> Vec<String> {
        let all: Vec<_> = lock(&self.made_v2).iter().cloned().collect();
        let mut left = Vec::new();
        for made in all {
            match Platform(self).gone_at_last(&made.path()).await {
                Ok(()) => drop(lock(&self.made_v2).remove(&made)),
                Err(End::Failed { seen, .. } | End::Skipped(seen)) => {
                    left.push(format!("{} is left: {seen}", made.path()))
                }
            }
        }
        left
    }
}

impl Platform<'_> {
    /// Removes what a path names, and waits for its end. It may be busy, or on a plan that an update brought it to.
    pub(super) async fn gone_at_last(self, path: &str) -> Result<(), End> {
        let mut plans: Vec<&Value> = self.offer()?.plans().collect();
        plans.sort_by_key(|plan| plan["id"] != self.0.offer.as_ref().map_or(&Value::Null, |offer| &offer.plan)["id"]);
        let mut answer = None;
        for plan in plans {
            let path = super::calls::asking(path, &format!("{}&{ASYNC}", self.ids(plan)?));
            let asked = self.0.until_answer(|| self.request("DELETE", &path), |answer| !is_busy(answer)).await?;
            let is_foreign = asked.status == 400;
            answer = Some(asked);
            if !is_foreign {
                break;
            }
        }
        let Some(answer) = answer else { return Ok(()) };
        if answer.status == 202 {
            let last = self.ended(path, &answer).await?;
            return last.must(matches!(last.status, 404 | 410) || state(&last) == "succeeded", "an end of the removal");
        }
        answer.must(is_gone(&answer), "200, 202 or 410")
    }
}

/// Whether a removal has nothing left to do.
pub(super) fn is_gone(answer: &Answer) -> bool {
    matches!(answer.status, 200 | 404 | 410)
}
