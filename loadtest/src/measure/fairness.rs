//! PURE: how fair a contended lock was, from who was granted when.
//! In: shares, places in line, times of grants. Out: Jain's index, overtakings, gaps. Never: a clock.

/// Jain's index: 1 if all shares are equal, 1/n if one has all.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]
pub fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (shares.len() as f64 * squares)
}

/// How many were overtaken by somebody further behind in line. In: places in line, in the order of
/// the grants.
pub fn overtaken(places_by_grant: &[usize]) -> usize {
    let mut furthest = 0;
    let mut count = 0;
    for place in places_by_grant {
        if *place < furthest {
            count += 1;
        }
        furthest = furthest.max(*place);
    }
    count
}

/// The times between one grant and the next, of all grants in any order.
pub fn gaps(mut grants_ns: Vec<u64>) -> Vec<u64> {
    grants_ns.sort_unstable();
    grants_ns.windows(2).map(|two| two[1] - two[0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jain_is_one_for_equals_and_a_share_for_a_monopoly() {
        assert!((jain(&[7, 7, 7, 7]) - 1.0).abs() < 1e-12);
        assert!((jain(&[9, 0, 0]) - 1.0 / 3.0).abs() < 1e-12);
        assert!((jain(&[4, 2]) - 0.9).abs() < 1e-12);
        assert!((jain(&[0, 0]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn only_those_who_were_passed_are_counted() {
        assert_eq!(overtaken(&[]), 0);
        assert_eq!(overtaken(&[0, 1, 2, 3]), 0);
        // 1 and 2 were passed by 3.
        assert_eq!(overtaken(&[0, 3, 1, 2]), 2);
        // The last came first: all others were passed.
        assert_eq!(overtaken(&[3, 0, 1, 2]), 3);
    }

    #[test]
    fn gaps_are_between_neighbours_in_time() {
        assert_eq!(gaps(vec![50, 10, 20]), [10, 30]);
        assert!(gaps(vec![5]).is_empty());
    }
}
