//! Metric families, built from values that are counted elsewhere.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram as ProtoHistogram, LabelPair, Metric, MetricFamily,
    MetricType,
};

use crate::status::Histogram;

const PREFIX: &str = "anylb_";

/// Labels of one sample: name and value.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// Families in the order they were started.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

impl Families {
    /// Starts a family of counters; `name` is without the prefix and ends in `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        self.start(name, help, MetricType::COUNTER)
    }

    /// Starts a family of gauges.
    pub(super) fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        self.start(name, help, MetricType::GAUGE)
    }

    /// Starts a family of histograms.
    pub(super) fn histogram(&mut self, name: &str, help: &str) -> Family<'_> {
        self.start(name, help, MetricType::HISTOGRAM)
    }

    /// The families that have a sample: one without is not in an exposition.
    pub(super) fn finish(mut self) -> Vec<MetricFamily> {
        self.0.retain(|family| !family.get_metric().is_empty());
        self.0
    }

    fn start(&mut self, name: &str, help: &str, kind: MetricType) -> Family<'_> {
        let mut family = MetricFamily::default();
        family.set_name(format!("{PREFIX}{name}"));
        family.set_help(help.to_string());
        family.set_field_type(kind);
        self.0.push(family);
        let family = self.0.last_mut().expect("one was pushed");
        Family { family, kind }
    }
}

/// One family, to add samples to.
pub(super) struct Family<'a> {
    family: &'a mut MetricFamily,
    kind: MetricType,
}

impl Family<'_> {
    /// Adds a sample of a counter or a gauge.
    pub(super) fn add(&mut self, labels: Labels<'_>, value: impl Into<Value>) -> &mut Self {
        let Value(value) = value.into();
        let mut metric = metric(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.family.mut_metric().push(metric);
        self
    }

    /// Adds a sample of a histogram.
    pub(super) fn add_histogram(&mut self, labels: Labels<'_>, value: &Histogram) -> &mut Self {
        let bucket = |&(upper_bound, count): &(f64, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(upper_bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        let mut histogram = ProtoHistogram::default();
        histogram.set_bucket(value.buckets.iter().map(bucket).collect());
        histogram.set_sample_sum(value.sum_secs);
        histogram.set_sample_count(value.count);
        let mut metric = metric(labels);
        metric.set_histogram(histogram);
        self.family.mut_metric().push(metric);
        self
    }
}

/// A sample's value. Counts above 2^53 lose their last digits, as everywhere in Prometheus.
pub(super) struct Value(f64);

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self(value as f64)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self(value as f64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self(f64::from(u8::from(value)))
    }
}

fn metric(labels: Labels<'_>) -> Metric {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_string());
        pair.set_value(value.to_string());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}
