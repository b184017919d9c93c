//! What a misspelt name may have been meant to be.

/// The name closest to `wanted`, if it is close: at most two edits, or a third of the length.
pub(crate) fn similar<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (wanted.chars().count() / 3).max(2);
    names
        .map(|name| (distance(wanted, name), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// At most `count` of `names`, the closest to `wanted` first.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    /// Names beyond this number are not compared; the message is for people.
    const COMPARED: usize = 256;
    let mut names: Vec<(usize, &str)> = names.take(COMPARED).map(|name| (distance(wanted, name), name)).collect();
    names.sort();
    names.into_iter().take(count).map(|(_, name)| name).collect()
}

/// The number of inserted, deleted, changed or swapped neighbouring characters (Damerau-Levenshtein, "optimal string
/// alignment"); long names count as far apart.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let a: Vec<char> = a.chars().take(LONGEST).collect();
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&previous, j) + usize::from(x != y)).min(at(&previous, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous.last().copied().unwrap_or(0)
}
