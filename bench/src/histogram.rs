//! A histogram of a service, as it shows it to Prometheus.

use crate::Result;

/// Upper bounds and how many values were at or below each, as exposed: each bucket has those before it.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Histogram {
    buckets: Vec<(f64, f64)>,
}

impl Histogram {
    /// The one of this name whose labels contain `label`, from a service's `/metrics`.
    pub(crate) async fn of(url: &str, name: &str, label: &str) -> Result<Self> {
        Ok(Self::parse(
            &local_servers::http_client()?.get(url).send().await?.error_for_status()?.text().await?,
            name,
            label,
        ))
    }

    fn parse(text: &str, name: &str, label: &str) -> Self {
        let bucket = |line: &str| {
            let labels = line.strip_prefix(name)?.strip_prefix("_bucket{")?;
            let (labels, count) = labels.rsplit_once("} ")?;
            let (_, bound) = labels.split_once("le=\"")?;
            let (bound, _) = bound.split_once('"')?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            labels.contains(label).then_some((bound, count.parse().ok()?))
        };
        Self { buckets: text.lines().filter_map(bucket).collect() }
    }

    /// What was added since an earlier state.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let earlier =
            |bound: f64| before.buckets.iter().find(|(other, _)| *other == bound).map_or(0.0, |at| at.1);
        Self {
            buckets: self.buckets.iter().map(|(bound, count)| (*bound, count - earlier(*bound))).collect(),
        }
    }

    /// A quantile, as even in its bucket as Prometheus takes it to be; `None` of no values, or beyond all bounds.
    pub(crate) fn quantile(&self, at: f64) -> Option<f64> {
        let rank = self.buckets.last()?.1 * at;
        let (mut low, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.buckets {
            if count >= rank && count > below {
                return bound.is_finite().then(|| low + (bound - low) * (rank - below) / (count - below));
            }
            (low, below) = (bound, count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE x_seconds histogram\n\
        x_seconds_bucket{hop=\"a\",le=\"0.01\"} 10\nx_seconds_bucket{hop=\"a\",le=\"0.02\"} 30\n\
        x_seconds_bucket{hop=\"a\",le=\"+Inf\"} 40\nx_seconds_sum{hop=\"a\"} 1\n\
        x_seconds_bucket{hop=\"b\",le=\"0.01\"} 5\n";

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let all = Histogram::parse(TEXT, "x_seconds", "hop=\"a\"");
        assert_eq!(all.buckets.len(), 3);
        assert_eq!(
            [all.quantile(0.25), all.quantile(0.5), all.quantile(0.9)],
            [Some(0.01), Some(0.015), None]
        );
        let before = Histogram { buckets: vec![(0.01, 10.0), (0.02, 20.0), (f64::INFINITY, 20.0)] };
        assert_eq!(all.since(&before).quantile(0.25), Some(0.015));
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
