//! What an author measures.

/// A number of an author's own, for [`Broker::metrics`](crate::Broker::metrics).
///
/// Operators see it in `/metrics` as `SERVICE_NAME`, with `_total` at the end of a counter's name. Names and labels
/// are lower-case letters, digits and `_`, the first a letter; others are left out and logged (SPEC T-22). Values of
/// labels are few and never a name of a user's, or a secret.
///
/// ```
/// # use broker_core::Metric;
/// let memory = Metric::gauge("memory_bytes", "Memory that servers use", 1_048_576.0).label("plan", "small");
/// let evictions = Metric::counter("evictions", "Keys evicted since the start", 12.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) value: f64,
    pub(crate) is_counter: bool,
    pub(crate) labels: Vec<(String, String)>,
}

impl Metric {
    /// What goes up and down. All of one name have one help text.
    #[must_use]
    pub fn gauge(name: impl Into<String>, help: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), help: help.into(), value, is_counter: false, labels: Vec::new() }
    }

    /// What only goes up, until whatever counts it starts again.
    #[must_use]
    pub fn counter(name: impl Into<String>, help: impl Into<String>, value: f64) -> Self {
        Self { is_counter: true, ..Self::gauge(name, help, value) }
    }

    /// Tells it from others of its name. By the label `instance`, an instance's name, its users get it, too (SPEC Y-9).
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }
}
