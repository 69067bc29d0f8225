//! Takes figures down, and prints them as tables in Markdown: medians over the rounds, least and most in brackets.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::rounds::names_hot;
use crate::works::Work;

/// The one that the others are compared with.
const SUBJECT: &str = "sekisho";
/// The one that is no peer.
const FLOOR: &str = "floor";

/// Figures of one row, by round; nothing where a round has none.
type Row = Vec<Option<Vec<f64>>>;

/// All figures.
#[derive(Debug, Default)]
pub(crate) struct Results {
    rounds: usize,
    works: BTreeMap<Work, BTreeMap<String, Row>>,
}

impl Results {
    pub(crate) fn new(rounds: usize) -> Self {
        Self {
            rounds,
            works: BTreeMap::new(),
        }
    }

    /// Takes down one row of one round.
    pub(crate) fn add(&mut self, work: Work, row: &str, round: usize, figures: Vec<f64>) {
        let rows = self.works.entry(work).or_default();
        let empty = || vec![None; self.rounds];
        let row = rows.entry(row.to_owned()).or_insert_with(empty);
        row[round] = Some(figures);
    }

    /// The rows of one table. Nobody else steers: there, the others are what they are without.
    fn rows(&self, work: Work) -> BTreeMap<&str, &Row> {
        let of = |work| self.works.get(&work).into_iter().flatten();
        let mut rows = BTreeMap::new();
        if work == Work::Steered {
            rows.extend(of(Work::HotA).filter(|(name, _)| *name != SUBJECT));
        }
        rows.extend(of(work));
        rows.into_iter()
            .map(|(name, row): (&String, &Row)| (name.as_str(), row))
            .collect()
    }

    /// Everything, as it was measured.
    pub(crate) fn json(&self) -> Value {
        let works = self.works.iter().map(|(work, rows)| {
            let value = json!({ "columns": work.columns(), "rows": rows });
            (work.name().to_owned(), value)
        });
        Value::Object(works.collect::<Map<_, _>>())
    }

    /// One table, and below it nothing.
    pub(crate) fn print(&self, work: Work) {
        let rows = self.rows(work);
        if rows.is_empty() {
            return;
        }
        // Growth is told of the first; everything else of sekisho.
        let (base, ratio) = match work {
            Work::Growth => (names_hot(1000), "÷ first"),
            _ => (SUBJECT.to_owned(), "sekisho ÷ it"),
        };
        println!("\n### {work}\n\n{}.\n", work.describes());
        let columns = work.columns();
        println!("| | {} | {ratio} |", columns.join(" | "));
        println!("|---|{}", "---:|".repeat(columns.len() + 1));
        let mut order: Vec<_> = rows.iter().collect();
        order.sort_by(|(_, a), (_, b)| median(&first(a)).total_cmp(&median(&first(b))));
        for (name, row) in order.into_iter().map(|(name, row)| (*name, *row)) {
            let cells: Vec<String> = (0..columns.len())
                .map(|column| spread(&of_column(row, column)))
                .collect();
            let ratio = match rows.get(base.as_str()) {
                Some(base) if work == Work::Growth => spread(&paired(row, base)),
                Some(base) if name != SUBJECT => spread(&paired(base, row)),
                _ => String::new(),
            };
            let shown = match name {
                SUBJECT => "**sekisho**",
                name => name,
            };
            println!("| {shown} | {} | {ratio} |", cells.join(" | "));
        }
    }

    /// sekisho beside the best of the peers, and beside the floor.
    pub(crate) fn print_summary(&self, works: &[Work]) {
        println!("\n### Summary\n");
        println!("| | sekisho | best peer | | sekisho ÷ best | floor | sekisho ÷ floor |");
        println!("|---|---:|---|---:|---:|---:|---:|");
        for work in works.iter().filter(|work| **work != Work::Growth) {
            let rows = self.rows(*work);
            let Some(subject) = rows.get(SUBJECT) else {
                continue;
            };
            let peers = rows
                .iter()
                .filter(|(name, _)| !matches!(**name, SUBJECT | FLOOR));
            let best =
                peers.min_by(|(_, a), (_, b)| median(&first(a)).total_cmp(&median(&first(b))));
            let (name, its, ratio) = best.map_or_else(Default::default, |(name, row)| {
                (*name, spread(&first(row)), spread(&paired(subject, row)))
            });
            let (floor, to_floor) = rows.get(FLOOR).map_or_else(Default::default, |row| {
                (spread(&first(row)), spread(&paired(subject, row)))
            });
            println!(
                "| {work}, {} | {} | {name} | {its} | {ratio} | {floor} | {to_floor} |",
                work.columns()[0],
                spread(&first(subject)),
            );
        }
    }
}

/// A table of texts.
pub(crate) fn print_texts(columns: &[&str], rows: &[Vec<String>]) {
    println!("| {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(columns.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

fn of_column(row: &Row, column: usize) -> Vec<f64> {
    let figures = row.iter().flatten();
    figures.filter_map(|f| f.get(column).copied()).collect()
}

fn first(row: &Row) -> Vec<f64> {
    of_column(row, 0)
}

/// The ratio of the first column in each round that has both.
fn paired(above: &Row, below: &Row) -> Vec<f64> {
    let figure = |figures: &Option<Vec<f64>>| figures.as_ref()?.first().copied();
    let pairs = above.iter().zip(below);
    pairs
        .filter_map(|(above, below)| Some(figure(above)? / figure(below)?))
        .collect()
}

/// Of none it is beyond everything.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match (figures.get(middle), figures.len() % 2) {
        (None, _) => f64::INFINITY,
        (Some(upper), 0) => f64::midpoint(figures[middle - 1], *upper),
        (Some(middle), _) => *middle,
    }
}

/// Median, least and most.
fn spread(figures: &[f64]) -> String {
    if figures.is_empty() {
        return "-".to_owned();
    }
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    let (middle, least, most) = (number(median(figures)), number(least), number(most));
    if least == most {
        return middle;
    }
    format!("{middle} [{least}..{most}]")
}

/// With three places that count.
fn number(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value < 10.0 {
        format!("{value:.2}")
    } else if value < 100.0 {
        format!("{value:.1}")
    } else {
        grouped(value)
    }
}

/// A whole number, its digits in threes.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
