//! Texts of others on an instance's page.

use chrono::DateTime;

use crate::{
    Actor, Consumer, InfoItem,
    http::fuzzing::page,
    lifecycle::{BindingState, Condition, ConsumerView, Dashboard, InstanceState, Operation, OperationKind},
};

/// Texts, a line each, as all that people and authors say of an instance: whatever they are, the page's markup is that
/// of plain words.
pub fn pages(lines: &[u8]) {
    let Ok(text) = std::str::from_utf8(lines) else { return };
    let mut texts: Vec<&str> = text.split('\n').take(16).collect();
    let shown = page(&dashboard(&texts));
    for text in texts.iter_mut().filter(|text| !text.is_empty()) {
        *text = "word";
    }
    let plain = page(&dashboard(&texts));
    assert_eq!(markup(&shown), markup(&plain), "a text became markup");
}

/// What a browser does not read as text.
fn markup(page: &str) -> Vec<&str> {
    page.match_indices(['<', '>', '"', '\'']).map(|(_, found)| found).collect()
}

fn dashboard(texts: &[&str]) -> Dashboard {
    let text = |at: usize| texts.get(at).copied().unwrap_or_default().to_owned();
    let info = texts.get(8..).unwrap_or_default().chunks(2);
    let mut operation =
        Operation::begin(OperationKind::Call, "cache".parse().expect("a name"), None, Actor::new(text(0), text(1)));
    operation.request = Some(text(2));
    operation.failure = Some(text(3));
    operation.ended = Some(operation.began);
    Dashboard {
        service: "fake".parse().expect("a name"),
        instance: "cache".parse().expect("a name"),
        description: text(4),
        plan: "small".parse().expect("a name"),
        plan_description: text(5),
        state: InstanceState::Ready,
        condition: Condition::Down(text(6)),
        info: Ok(info.map(|pair| InfoItem::new(pair[0], *pair.last().unwrap_or(&""))).collect()),
        update: Some(text(7)),
        consumers: vec![ConsumerView {
            consumer: Consumer::App("web".parse().expect("a name")),
            state: BindingState::Bound,
            since: DateTime::UNIX_EPOCH,
            expires: None,
        }],
        further_consumers: 0,
        operations: vec![operation],
    }
}
