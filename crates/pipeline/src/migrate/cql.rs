//! Files of CQL as single statements: the driver takes one at a time.

/// The statements of a file, without comments and final semicolons.
///
/// Knows `--`, `//` and `/* */` comments, strings, quoted names and `$$` texts, as of CQL 3.4.
pub(super) fn statements(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut statement = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let token = if rest.starts_with("--") || rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            rest = rest.get(end..).unwrap_or_default();
            continue;
        } else if rest.starts_with("/*") {
            let end = rest.find("*/").map_or(rest.len(), |end| end + 2);
            rest = rest.get(end..).unwrap_or_default();
            continue;
        } else if let Some(delimiter) = ["'", "\"", "$$"].into_iter().find(|mark| rest.starts_with(mark)) {
            // A doubled quote inside reads as the end and the begin of another text, which splits the same.
            let body = rest.get(delimiter.len()..).unwrap_or_default();
            let end = body.find(delimiter).map_or(rest.len(), |end| end + 2 * delimiter.len());
            rest.get(..end).unwrap_or(rest)
        } else {
            rest.get(..letter.len_utf8()).unwrap_or(rest)
        };
        rest = rest.get(token.len()..).unwrap_or_default();
        if token == ";" {
            all.push(std::mem::take(&mut statement));
        } else {
            statement.push_str(token);
        }
    }
    all.push(statement);
    all.into_iter()
        .map(|statement| statement.trim().to_owned())
        .filter(|statement| !statement.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn splits_at_semicolons_outside_of_texts_and_comments() {
        let text = "-- one; two\nCREATE TABLE a (b int); // c;\n/* d; */ INSERT INTO \"e;\" VALUES ('f;''g', $$h;i$$);\n;";
        assert_eq!(
            statements(text),
            ["CREATE TABLE a (b int)", "INSERT INTO \"e;\" VALUES ('f;''g', $$h;i$$)"]
        );
    }

    #[test]
    fn takes_a_file_that_ends_early() {
        assert_eq!(statements("SELECT 'a;b"), ["SELECT 'a;b"]);
        assert_eq!(statements("SELECT 1 -- end"), ["SELECT 1"]);
        assert!(statements("/* open").is_empty());
    }
}
