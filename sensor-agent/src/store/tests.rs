//! Pages, filters, retention, and what becomes of damaged files.

use super::*;
use sensor_engine::finding::{Class, Severity};

fn row(id: u64) -> Row {
    Row {
        id,
        time_us: id as i64 * 1_000_000,
        class: if id.is_multiple_of(2) { Class::SqlInjection } else { Class::Jwt },
        severity: if id.is_multiple_of(3) { Severity::Critical } else { Severity::Low },
        source: if id.is_multiple_of(5) {
            "2001:db8::5".parse().unwrap()
        } else {
            std::net::Ipv4Addr::new(192, 0, 2, id as u8).into()
        },
        event: format!("{{\"id\":{id}}}"),
        owner: if id.is_multiple_of(2) { nginx() } else { Owner::default() },
    }
}

fn nginx() -> Owner {
    let text = |text: &str| Some(text.to_owned());
    Owner {
        process: text("nginx"),
        unit: text("nginx.service"),
        container: text("0123456789ab%_cdef"),
        user: text("www-data"),
    }
}

fn store_of(path: &Path, rows: u64, max: u64) -> Store {
    let store = Store::open(path, max).unwrap().store;
    store.insert(&(1..=rows).map(row).collect::<Vec<_>>()).unwrap();
    store
}

fn ids(found: &[Stored]) -> Vec<u64> {
    found.iter().map(|stored| stored.id).collect()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state").join("sensor.db");
    (dir, path)
}

#[test]
fn pages_go_from_the_newest_to_the_oldest_without_gap_or_overlap() {
    let (_dir, path) = place();
    let store = store_of(&path, 25, 100);
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = store.newest(&Filter::default(), before, 10).unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(ids(&page));
        // An alert that comes meanwhile moves no page.
        store.insert(&[row(store.next_id().unwrap())]).unwrap();
    }
    assert_eq!(seen, (1..=25).rev().collect::<Vec<_>>());
}

#[test]
fn filters_in_sql_and_in_memory_agree() {
    let (_dir, path) = place();
    let store = store_of(&path, 30, 100);
    let net = |text: &str| Some(text.parse().unwrap());
    let beginning = |id: &str| Owner { container: Some(id.to_owned()), ..Owner::default() };
    for filter in [
        Filter { classes: vec![Class::Jwt], ..Filter::default() },
        Filter { severities: vec![Severity::Critical, Severity::High], ..Filter::default() },
        Filter { source: net("192.0.2.0/28"), ..Filter::default() },
        Filter { source: net("192.0.2.7/32"), ..Filter::default() },
        Filter { source: net("2001:db8::/32"), ..Filter::default() },
        Filter { source: net("0.0.0.0/0"), ..Filter::default() },
        Filter { owner: Owner { process: nginx().process, ..Owner::default() }, ..Filter::default() },
        Filter { owner: nginx(), ..Filter::default() },
        Filter { owner: Owner { user: Some("root".to_owned()), ..nginx() }, ..Filter::default() },
        Filter { owner: beginning("0123456789ab%"), ..Filter::default() },
        Filter { owner: beginning("0123456789ab%c"), ..Filter::default() },
        Filter { owner: beginning("123"), ..Filter::default() },
        Filter { owner: beginning(""), ..Filter::default() },
        Filter { since_us: Some(5_000_000), until_us: Some(9_000_000), ..Filter::default() },
        Filter {
            classes: vec![Class::SqlInjection, Class::Jwt],
            severities: vec![Severity::Low],
            since_us: Some(1),
            ..Filter::default()
        },
    ] {
        let expected: Vec<_> = (1..=30).filter(|id| filter.matches(&row(*id))).collect();
        let found = ids(&store.after(0, &filter, 100).unwrap());
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[test]
fn the_oldest_go_when_there_are_too_many_and_numbers_are_never_used_again() {
    let (_dir, path) = place();
    let store = store_of(&path, 10, 10);
    store.insert(&[row(11), row(12)]).unwrap();
    assert_eq!(ids(&store.after(0, &Filter::default(), 100).unwrap()), (3..=12).collect::<Vec<_>>());
    drop(store);
    let store = Store::open(&path, 1).unwrap().store;
    assert_eq!(store.next_id().unwrap(), 13);
    store.insert(&[row(13)]).unwrap();
    assert_eq!(ids(&store.newest(&Filter::default(), None, 100).unwrap()), [13]);
}

#[test]
fn a_batch_that_is_written_twice_counts_once() {
    let (_dir, path) = place();
    let store = store_of(&path, 3, 100);
    store.insert(&[row(3), row(4)]).unwrap();
    assert_eq!(ids(&store.after(0, &Filter::default(), 100).unwrap()), [1, 2, 3, 4]);
}

#[test]
fn alerts_of_an_earlier_schema_stay_and_have_no_owner() {
    let (_dir, path) = place();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    schema::at_version(&path, 1);
    let store = Store::open(&path, 100).unwrap().store;
    assert_eq!(ids(&store.after(0, &Filter::default(), 100).unwrap()), [7]);
    store.insert(&[row(8)]).unwrap();
    let of_nginx = Filter { owner: nginx(), ..Filter::default() };
    assert_eq!(ids(&store.after(0, &of_nginx, 100).unwrap()), [8]);
}

#[test]
fn only_the_owner_reads_the_files() {
    let (_dir, path) = place();
    let _store = store_of(&path, 1, 100);
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn a_corrupt_file_is_moved_aside_and_numbers_go_on_above() {
    for damage in [
        &b"this is no database, and it is longer than a header of one hundred bytes, so that it is read\
                     as one and refused"[..],
        b"SQLite format 3\0garbage",
    ] {
        let (_dir, path) = place();
        drop(store_of(&path, 3, 100));
        std::fs::write(&path, damage).unwrap();
        let opened = Store::open(&path, 100).unwrap();
        let aside = opened.quarantined.expect("quarantined");
        assert_eq!(std::fs::read(aside).unwrap(), damage);
        assert!(opened.store.next_id().unwrap() > 1_000_000_000_000);
        opened.store.insert(&[row(2_000_000_000_000)]).unwrap();
    }
}

#[test]
fn a_page_that_is_damaged_in_the_middle_is_noticed() {
    let (_dir, path) = place();
    drop(store_of(&path, 2000, 10_000));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    assert!(Store::open(&path, 100).unwrap().quarantined.is_some());
}

#[test]
fn a_newer_schema_is_refused_and_the_file_stays() {
    let (_dir, path) = place();
    drop(store_of(&path, 3, 100));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = format!("{:#}", Store::open(&path, 100).unwrap_err());
    assert!(error.contains("schema version 99, this version of the sensor knows up to 3"), "{error}");
    assert!(path.exists());
    assert!(Store::open_for_reading(&path).is_err());
}

#[test]
fn readers_see_what_is_written_meanwhile() {
    let (_dir, path) = place();
    let store = store_of(&path, 2, 100);
    let reader = Store::open_for_reading(&path).unwrap();
    store.insert(&[row(3)]).unwrap();
    assert_eq!(ids(&reader.newest(&Filter::default(), None, 10).unwrap()), [3, 2, 1]);
}
