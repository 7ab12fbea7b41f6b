//! What authors measure, as operators see it (SPEC T-22).

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, exemplar::Exemplar},
    registry::Registry,
};
use tracing::warn;

use crate::Metric;

/// The most of them that are shown.
const MOST: usize = 1000;

/// The author's measurements, as they were given last.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuthorMetrics(Arc<Mutex<Vec<Metric>>>);

impl AuthorMetrics {
    /// A registry of their own, under the service's name.
    pub(crate) fn registry(&self, service: &str) -> Registry {
        let prefix = match service {
            "broker" => "broker_service".to_owned(),
            other => other.replace('-', "_"),
        };
        let mut registry = Registry::with_prefix(prefix);
        registry.register_collector(Box::new(self.clone()));
        registry
    }

    /// Replaces them by those that can be shown.
    pub(crate) fn set(&self, given: Vec<Metric>) {
        let count = given.len();
        let shown = shown(given);
        if shown.len() < count {
            warn!(
                "{} of {count} measurements of the author's are left out: they have a name, label or sample that \
                can't be, or come twice, or are more than {MOST}",
                count - shown.len()
            );
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

fn shown(given: Vec<Metric>) -> Vec<Metric> {
    let (mut kinds, mut seen) = (BTreeMap::new(), HashSet::new());
    let known = given.into_iter().filter_map(|mut metric| {
        metric.labels.sort();
        if let Some(name) = metric.name.strip_suffix("_total").filter(|_| metric.is_counter) {
            metric.name = name.to_owned();
        }
        let names = metric.labels.iter().map(|(name, _)| name).chain([&metric.name]);
        let is_named = names.into_iter().all(|name| is_name(name));
        let is_apart = metric.labels.windows(2).all(|pair| pair[0].0 != pair[1].0);
        let is_possible = !metric.is_counter || metric.value >= 0.0;
        let fits = is_named
            && is_apart
            && is_possible
            && *kinds.entry(metric.name.clone()).or_insert(metric.is_counter) == metric.is_counter
            && seen.insert((metric.name.clone(), metric.labels.clone()));
        fits.then_some(metric)
    });
    let mut shown: Vec<Metric> = known.take(MOST).collect();
    shown.sort_by(|one, other| one.name.cmp(&other.name));
    shown
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

impl Collector for AuthorMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let metrics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for family in metrics.chunk_by(|one, other| one.name == other.name) {
            let [first, ..] = family else { continue };
            let encoder = encoder.encode_descriptor(&first.name, &first.help, None, first.metric_type())?;
            Family(family).encode(encoder)?;
        }
        Ok(())
    }
}

/// All of one name.
struct Family<'a>(&'a [Metric]);

impl Family<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.iter().try_for_each(|metric| metric.encode(encoder.encode_family(&metric.labels)?))
    }
}

impl EncodeMetric for Metric {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        if self.is_counter {
            return encoder.encode_counter(&self.value, None::<&Exemplar<NoLabelSet, f64>>);
        }
        encoder.encode_gauge(&self.value)
    }

    fn metric_type(&self) -> MetricType {
        if self.is_counter { MetricType::Counter } else { MetricType::Gauge }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn text(metrics: Vec<Metric>) -> String {
        let authors = AuthorMetrics::default();
        authors.set(metrics);
        let mut text = String::new();
        encode(&mut text, &authors.registry("key-store")).unwrap();
        text
    }

    #[test] // SPEC T-22
    fn measurements_carry_the_services_name_and_are_grouped() {
        let text = text(vec![
            Metric::gauge("memory_bytes", "Memory", 1.5).label("plan", "small"),
            Metric::counter("evictions_total", "Evictions", 3.0),
            Metric::gauge("memory_bytes", "Memory", 2.0).label("plan", "a \"b\"\n"),
        ]);

        assert_eq!(
            text,
            "# HELP key_store_evictions Evictions\n# TYPE key_store_evictions counter\n\
            key_store_evictions_total{} 3.0\n\
            # HELP key_store_memory_bytes Memory\n# TYPE key_store_memory_bytes gauge\n\
            key_store_memory_bytes{plan=\"small\"} 1.5\n\
            key_store_memory_bytes{plan=\"a \\\"b\\\"\\n\"} 2.0\n# EOF\n"
        );
    }

    #[test] // SPEC T-22
    fn what_would_break_the_text_is_left_out() {
        let bad = |name: &str| Metric::gauge(name, "x", 1.0);
        let given = vec![
            bad(""),
            bad("9x"),
            bad("a b"),
            bad("a\nb"),
            bad("A"),
            bad("ok").label("le ft", "x"),
            bad("ok").label("a", "1").label("a", "2"),
            Metric::counter("neg", "x", -1.0),
            bad("ok"),
            bad("ok"),
            Metric::counter("ok", "x", 1.0),
        ];
        assert_eq!(shown(given), [bad("ok")]);
        assert_eq!(shown((0..2000).map(|n| bad("ok").label("n", n.to_string())).collect()).len(), MOST);
    }
}
