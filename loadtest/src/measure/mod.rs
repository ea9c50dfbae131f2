//! How load is made and what is measured while it runs.
//! In: a plan, clients, processes. Out: histograms and counts of one run. Never: an opinion of them.

pub mod fairness;
pub mod histogram;
pub mod load;
pub mod probe;
pub mod schedule;
pub mod scrape;
pub mod usage;
pub mod worker;
