//! The nearest name to a misspelt one.

/// Longest name compared; longer ones are no typing errors.
const LONGEST: usize = 64;

/// Most names compared with.
const COMPARED: usize = 1_000;

/// The nearest of `names` within a distance of 2 or a third of the length of `name`.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    ranked(name, names).into_iter().next()
}

/// Up to three of `names` that are near enough, best first.
pub fn several<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let mut found = ranked(name, names);
    found.truncate(3);
    found
}

/// All names near enough, best first, in the given order among equals.
fn ranked<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let wanted: Vec<char> = name.chars().map(|c| c.to_ascii_lowercase()).collect();
    if wanted.is_empty() || wanted.len() > LONGEST {
        return Vec::new();
    }
    let allowed = (wanted.len() / 3).max(if wanted.len() < 3 { 1 } else { 2 });
    let mut found: Vec<(usize, &str)> = Vec::new();
    for candidate in names.into_iter().take(COMPARED) {
        let other: Vec<char> = candidate.chars().take(LONGEST + 1).map(|c| c.to_ascii_lowercase()).collect();
        if other.len().abs_diff(wanted.len()) > allowed {
            continue;
        }
        let distance = distance(&wanted, &other);
        if distance <= allowed && !found.iter().any(|(_, known)| *known == candidate) {
            found.push((distance, candidate));
        }
    }
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Damerau-Levenshtein distance (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut current = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut cost =
                (at(&previous, j + 1) + 1).min(at(&current, j) + 1).min(at(&previous, j) + usize::from(x != y));
            let swapped = i > 0 && j > 0 && Some(x) == b.get(j - 1) && a.get(i - 1) == Some(y);
            if swapped {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            current.push(cost);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        for (name, names, expected) in [
            ("databse", &["database", "databases", "name"][..], Some("database")),
            ("promt", &["prompt", "tool"][..], Some("prompt")),
            ("ot", &["to", "at"][..], Some("to")),
            ("xyzzy", &["prompt", "tool"][..], None),
            ("", &["a"][..], None),
            ("Port", &["port"][..], Some("port")),
        ] {
            assert_eq!(nearest(name, names.iter().copied()), expected, "{name}");
        }
        assert_eq!(several("task1", ["task2", "task3", "task4", "task5"]), ["task2", "task3", "task4"]);
    }

    #[test]
    fn a_swap_counts_once() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("abcd"), &chars("abdc")), 1);
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
    }
}
