//! PURE: medians over rounds, with the least and the greatest, and ratios between them.
//! In: runs. Out: cells by scenario, case, peer and figure. Never: a mean of percentiles.

use std::collections::BTreeMap;

use super::raw::Run;

/// A figure over several rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// Nothing without values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => values.get(middle.checked_sub(1)?)?.midpoint(values[middle]),
        };
        Some(Self {
            min: *values.first()?,
            median,
            max: *values.last()?,
        })
    }
}

/// All figures, in the order in which the runs were made.
#[derive(Debug, Default)]
pub struct Table {
    cases: Vec<Case>,
}

/// One case of a scenario.
#[derive(Debug)]
pub struct Case {
    pub scenario: String,
    pub name: String,
    pub x: f64,
    /// In the order of their first run.
    pub peers: Vec<Peer>,
}

/// One peer in one case.
#[derive(Debug)]
pub struct Peer {
    pub name: String,
    values: BTreeMap<String, Vec<f64>>,
}

impl Peer {
    pub fn figure(&self, name: &str) -> Option<Spread> {
        Spread::of(self.values.get(name)?.clone())
    }

    /// By name.
    pub fn figures(&self) -> impl Iterator<Item = (&str, Spread)> {
        self.values
            .iter()
            .filter_map(|(name, values)| Some((name.as_str(), Spread::of(values.clone())?)))
    }
}

impl Table {
    pub fn new(runs: &[Run]) -> Self {
        let mut table = Self::default();
        for run in runs {
            let peer = table.case_mut(run).peer_mut(&run.peer);
            for (name, value) in &run.figures {
                peer.values.entry(name.clone()).or_default().push(*value);
            }
        }
        table
    }

    /// Scenarios, in order.
    pub fn scenarios(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for case in &self.cases {
            if !names.contains(&case.scenario.as_str()) {
                names.push(&case.scenario);
            }
        }
        names
    }

    /// The cases of a scenario, in order.
    pub fn cases<'a>(&'a self, scenario: &'a str) -> impl Iterator<Item = &'a Case> {
        self.cases
            .iter()
            .filter(move |case| case.scenario == scenario)
    }

    /// A figure of one peer in one case.
    pub fn figure(&self, scenario: &str, case: &str, peer: &str, figure: &str) -> Option<Spread> {
        let case = self.cases(scenario).find(|one| one.name == case)?;
        case.peers
            .iter()
            .find(|one| one.name == peer)?
            .figure(figure)
    }

    /// How many times that of `base` the median of `peer` is.
    pub fn ratio(
        &self,
        scenario: &str,
        case: &str,
        (peer, base): (&str, &str),
        figure: &str,
    ) -> Option<f64> {
        let of = |name| Some(self.figure(scenario, case, name, figure)?.median);
        let (peer, base) = (of(peer)?, of(base)?);
        (base > 0.0).then(|| peer / base)
    }

    fn case_mut(&mut self, run: &Run) -> &mut Case {
        let known = |case: &Case| case.scenario == run.scenario && case.name == run.case;
        let place = self.cases.iter().position(known).unwrap_or_else(|| {
            self.cases.push(Case {
                scenario: run.scenario.clone(),
                name: run.case.clone(),
                x: run.x,
                peers: Vec::new(),
            });
            self.cases.len() - 1
        });
        &mut self.cases[place]
    }
}

impl Case {
    fn peer_mut(&mut self, name: &str) -> &mut Peer {
        let known = self.peers.iter().position(|peer| peer.name == name);
        let place = known.unwrap_or_else(|| {
            self.peers.push(Peer {
                name: name.to_owned(),
                values: BTreeMap::new(),
            });
            self.peers.len() - 1
        });
        &mut self.peers[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(case: &str, peer: &str, rate: f64) -> Run {
        Run {
            scenario: "pairs".to_owned(),
            case: case.to_owned(),
            peer: peer.to_owned(),
            figures: BTreeMap::from([("pairs_per_s".to_owned(), rate)]),
            ..Run::default()
        }
    }

    #[test]
    fn medians_have_their_least_and_greatest() {
        assert_eq!(Spread::of(vec![]), None);
        let odd = Spread::of(vec![3.0, 1.0, 9.0]).expect("three values");
        assert_eq!((odd.min, odd.median, odd.max), (1.0, 3.0, 9.0));
        let even = Spread::of(vec![4.0, 1.0, 2.0, 9.0]).expect("four values");
        assert!((even.median - 3.0).abs() < 1e-12);
    }

    #[test]
    fn rounds_of_one_case_come_together_and_ratios_are_of_medians() {
        let runs = [
            run("1 worker", "etcd", 10.0),
            run("64 workers", "sidelock", 900.0),
            run("64 workers", "etcd", 100.0),
            run("64 workers", "sidelock", 500.0),
            run("64 workers", "etcd", 200.0),
            run("64 workers", "sidelock", 600.0),
            run("64 workers", "etcd", 150.0),
        ];
        let table = Table::new(&runs);
        assert_eq!(table.scenarios(), ["pairs"]);
        let names: Vec<_> = table
            .cases("pairs")
            .map(|case| case.name.as_str())
            .collect();
        assert_eq!(names, ["1 worker", "64 workers"]);
        let ratio = |base| table.ratio("pairs", "64 workers", ("sidelock", base), "pairs_per_s");
        assert_eq!(ratio("etcd"), Some(4.0));
        assert_eq!(ratio("consul"), None);
    }
}
