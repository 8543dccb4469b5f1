//! Sampling: the share of traces that a sampler in front of us kept, as the W3C trace state says it, and the decision
//! that the Agent's rates ask for.

use std::collections::BTreeMap;

/// What an Agent's rates say about a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decision {
    /// 1 to keep it, 0 to let it go after it was counted.
    pub(super) priority: f64,
    /// The rate that was applied.
    pub(super) rate: f64,
}

/// The decision for a trace of this service and environment; `None` if the rates say nothing of it.
pub(super) fn decide(
    rates: &BTreeMap<String, f64>,
    service: &str,
    env: &str,
    trace_id: u64,
) -> Option<Decision> {
    if rates.is_empty() {
        return None;
    }
    let named = rates.get(&format!("service:{service},env:{env}"));
    let rate = *named.or_else(|| rates.get("service:,env:"))?;
    Some(Decision { priority: f64::from(u8::from(keeps(trace_id, rate))), rate })
}

/// Whether a trace is kept at this rate. Datadog's own rule, so that everybody who sees the trace decides alike: the low
/// half of its id, multiplied, below the rate's share of all numbers.
pub fn keeps(trace_id: u64, rate: f64) -> bool {
    const FACTOR: u64 = 1_111_111_111_111_111_111;
    const ALL: f64 = 18_446_744_073_709_551_616.0;
    rate >= 1.0 || (trace_id.wrapping_mul(FACTOR) as f64) < rate * ALL
}

/// The probability in the `ot` entry of a trace state: of its threshold (`th`), or of its older power of two (`p`).
/// `None` if it says nothing, or that everything or nothing was kept.
pub(super) fn probability(trace_state: &str) -> Option<f64> {
    let entry = trace_state.split(',').find_map(|entry| entry.trim().strip_prefix("ot="))?;
    let get = |key: &str| entry.split(';').find_map(|part| part.strip_prefix(key)?.strip_prefix(':'));
    let probability = match (get("th"), get("p")) {
        (Some(threshold), _) => from_threshold(threshold)?,
        (None, Some(power)) => {
            // 63 stands for zero.
            let power: u8 = power.parse().ok().filter(|p| *p < 63)?;
            f64::exp2(-f64::from(power))
        }
        (None, None) => return None,
    };
    (probability > 0.0 && probability < 1.0).then_some(probability)
}

/// A threshold is the share that is rejected, as up to 14 hexadecimal digits of a fraction.
fn from_threshold(hex: &str) -> Option<f64> {
    if hex.is_empty() || hex.len() > 14 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let digits = u64::from_str_radix(hex, 16).ok()?;
    let rejected = digits << (4 * (14 - hex.len()));
    Some(((1u64 << 56) - rejected) as f64 / (1u64 << 56) as f64)
}

#[cfg(test)]
mod tests {
    use super::probability;

    #[test]
    fn the_share_comes_from_a_threshold_or_a_power_of_two() {
        assert_eq!(probability("ot=th:8"), Some(0.5));
        assert_eq!(probability("dd=s:1, ot=rv:1;th:c"), Some(0.25));
        assert_eq!(probability("ot=p:1;r:1"), Some(0.5));
        for nothing in
            ["", "ot=p:63", "ot=th:0", "ot=p:0", "ot=th:", "ot=th:zz", "ot=th:123456789abcdef", "x=th:8"]
        {
            assert_eq!(probability(nothing), None, "{nothing:?}");
        }
    }
}
