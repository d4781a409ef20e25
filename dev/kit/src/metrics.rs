//! Sums over a page of metrics in the Prometheus text format.

/// The sum of all series of `name` whose labels contain every pair of `labels`;
/// 0 when there is none. Histograms are found by their series' names, such as
/// `x_count`.
pub fn sum(page: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    page.lines()
        .filter_map(|line| sample(line.strip_prefix(name)?))
        .filter(|(series, _)| wanted.iter().all(|pair| has_label(series, pair)))
        .map(|(_, value)| value)
        .sum()
}

/// Labels, braces included, and value of a line whose name has been taken off.
/// `None` too when the name was only the beginning of a longer one.
fn sample(rest: &str) -> Option<(&str, f64)> {
    let (labels, value) = if rest.starts_with('{') {
        rest.split_at(rest.rfind('}')? + 1)
    } else {
        rest.starts_with(' ').then_some(("", rest))?
    };
    Some((labels, value.split_whitespace().next()?.parse().ok()?))
}

/// Looks at the character before, lest `le="1"` be found in `role="1"`.
fn has_label(series: &str, pair: &str) -> bool {
    series.match_indices(pair).any(|(at, _)| matches!(series.as_bytes().get(at.wrapping_sub(1)), Some(b'{' | b',')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# TYPE requests_total counter
requests_total{verb=\"GET\",code=\"200\"} 3
requests_total{verb=\"GET\",code=\"404\"} 1e1
requests_total{adverb=\"GET\"} 100
requests_total_more{verb=\"GET\"} 100
plain 7
";

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    #[test]
    fn sums_the_series_that_match_and_no_others() {
        assert!(close(sum(PAGE, "requests_total", &[("verb", "GET")]), 13.0));
        let both = [("code", "200"), ("verb", "GET")];
        assert!(close(sum(PAGE, "requests_total", &both), 3.0));
        assert!(close(sum(PAGE, "requests_total", &[]), 113.0));
        assert!(close(sum(PAGE, "plain", &[]), 7.0));
        assert!(close(sum(PAGE, "absent", &[]), 0.0));
    }
}
