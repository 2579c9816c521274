//! `/api/v1/duplicates`: batches that the backend may have more than once, by Idempotency-Key, the newest first.
//!
//! In go the list of the books and the page that is asked for. Keys are only ever added.

use serde_json::{Value, json};

use super::answer::Answer;
use super::exporters::{Query, percent_decode};
use super::time::rfc3339;
use crate::limits::HTTP_PAGE_ROWS;
use crate::metrics::{Books, Duplicate};

/// Reads `limit=&after=`; an empty value is as good as none.
fn parse(query: &str) -> Result<(usize, Option<u64>), String> {
    let (mut limit, mut after) = (usize::try_from(HTTP_PAGE_ROWS.default).unwrap_or(usize::MAX), None);
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode(value).ok_or_else(|| format!("{name}: not valid percent-encoded UTF-8"))?;
        match name {
            "limit" | "after" if value.is_empty() => {}
            "limit" => limit = Query::parse_limit(&value)?,
            "after" => {
                let wrong = |_| format!("after: {value:?} is not the \"next\" of an earlier page");
                after = Some(value.parse().map_err(wrong)?);
            }
            _ => return Err(format!("{name:?} is not one of limit, after")),
        }
    }
    Ok((limit, after))
}

/// A page of the list.
pub(super) fn list(books: &Books, query: &str) -> Answer {
    let (limit, after) = match parse(query) {
        Ok(asked) => asked,
        Err(error) => return Answer::bad_request(&error),
    };
    let (mut rows, kept) = books.duplicates.page(after, limit + 1);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| row.number.to_string());
    Answer::ok(&json!({
        "records_possibly_duplicated": books.duplicated.value(),
        "kept": kept,
        "batches": rows.iter().map(row).collect::<Vec<_>>(),
        "next": next,
    }))
}

fn row(row: &Duplicate) -> Value {
    json!({
        "idempotency_key": row.batch.key.to_string(),
        "batch": row.batch.id.to_string(),
        "part": row.batch.part,
        "records": row.batch.records,
        "why": row.why,
        "first": rfc3339(row.first_ns),
        "last": rfc3339(row.last_ns),
        "sent_again": row.sent_again,
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::metrics::{BatchName, Metrics, Shape};

    #[test]
    fn pages_name_the_newest_first_and_join() {
        let shape = Shape { listeners: vec![], workers: 1, batchers: 1, sink: "backend", instance: "test".into() };
        let books = &Metrics::new(&shape).books;
        for id in 1..=5 {
            let id = Uuid::from_u128(id);
            books.duplicates.doubt(BatchName { id, part: 0, key: id, records: 3 }, "timeout", 1);
        }
        let ask = |query: &str| serde_json::from_slice::<Value>(&list(books, query).body).unwrap();
        let keys = |page: &Value| {
            page["batches"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["idempotency_key"].as_str().unwrap().chars().last().unwrap())
                .collect::<String>()
        };
        let first = ask("limit=2");
        assert_eq!((keys(&first).as_str(), &first["kept"]), ("54", &json!(5)));
        let second = ask(&format!("limit=3&after={}", first["next"].as_str().unwrap()));
        assert_eq!((keys(&second).as_str(), &second["next"]), ("321", &Value::Null));
        let row = &second["batches"][0];
        assert_eq!((&row["why"], &row["records"], &row["sent_again"]), (&json!("timeout"), &json!(3), &json!(0)));
        for (query, part) in [("limit=0", "1 to"), ("after=x", "next"), ("prefix=1", "limit, after")] {
            assert!(ask(query)["error"].as_str().unwrap().contains(part), "{query}");
        }
    }
}
