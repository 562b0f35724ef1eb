//! What a pattern of an action cannot say.

/// Directories that nobody removes with everything below.
const ROOTS: &[&str] = &[
    "/",
    "/*",
    "~",
    "~/",
    "~/*",
    "$HOME",
    "$HOME/*",
    "${HOME}",
    "*",
    ".",
    "./",
    "./*",
    "..",
    "../",
    "../*",
    ".*",
    "/.",
    "$PWD",
    "%USERPROFILE%",
];
const TREES: &[&str] = &[
    "/etc",
    "/usr",
    "/var",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/boot",
    "/root",
    "/home",
    "/opt",
    "/srv",
    "/dev",
    "/proc",
    "/sys",
    "/data",
    "/mnt",
    "/System",
    "/Library",
    "/Users",
    "/Applications",
];

/// Arguments of `rm` that remove a whole tree that matters.
pub(super) fn removes_much(found: &str) -> bool {
    let mut recursive = false;
    let mut much = false;
    for word in found.split_ascii_whitespace().skip(1) {
        let quiet = word.trim_matches(|c| c == '"' || c == '\'');
        match word.strip_prefix('-') {
            Some("-recursive") => recursive = true,
            Some("-no-preserve-root") => much = true,
            Some(flags) if !flags.starts_with('-') => recursive |= flags.contains(['r', 'R']),
            Some(_) => {}
            None => much |= matters(quiet),
        }
    }
    recursive && much
}

/// A root, or a directory of the system with at most one name below.
fn matters(path: &str) -> bool {
    let trimmed = path.trim_end_matches(['/', '*']);
    let below = |tree: &str| {
        trimmed.strip_prefix(tree).is_some_and(|rest| {
            rest.is_empty() || (rest.starts_with('/') && rest.matches('/').count() == 1)
        })
    };
    ROOTS.contains(&path) || TREES.iter().any(|tree| below(tree) && *tree != "/dev")
}

/// A statement that touches every row.
pub(super) fn without_where(found: &str) -> bool {
    let lower = found.to_ascii_lowercase();
    let says = |word: &str| {
        lower.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|one| one == word)
    };
    let everything =
        lower.contains("1=1") || lower.contains("1 = 1") || lower.contains("where true");
    // `for update set`, `on conflict do update set`, prose: no statement of its own.
    let prose = says("the") || says("your") || says("please");
    (!says("where") || everything) && !says("limit") && !prose
}

/// A push that overwrites a branch that others build upon.
pub(super) fn overwrites_main(found: &str) -> bool {
    let words: Vec<&str> = found.split_ascii_whitespace().collect();
    let forced = words.iter().any(|w| matches!(*w, "--force" | "-f" | "--mirror" | "-fu" | "-uf"));
    let deleted = words.iter().any(|w| matches!(*w, "--delete" | "-d"));
    let is_main = |word: &&str| {
        let branch = word.rsplit([':', '/']).next().unwrap_or(word).trim_start_matches('+');
        matches!(
            branch,
            "main" | "master" | "trunk" | "production" | "prod" | "release" | "develop" | "HEAD"
        )
    };
    let overwritten = words.iter().any(|w| w.starts_with('+') && is_main(w));
    let removed = words.iter().any(|w| w.starts_with(':') && is_main(w));
    let behind = words.iter().skip_while(|w| **w != "push").skip(1);
    let named = behind.filter(|w| !w.starts_with('-')).count();
    let all = words.iter().any(|w| matches!(*w, "--all" | "--mirror"));
    // Without a branch it is the present one, whichever that is.
    overwritten
        || removed
        || ((forced || deleted) && (all || named < 2 || words.iter().any(is_main)))
}

/// Not a template of one, which is made to be read.
pub(super) fn is_environment_file(found: &str) -> bool {
    !["example", "sample", "template", "dist", "schema"].iter().any(|word| found.contains(word))
}
