//! What is particular to a server that replicas share: who gets in, what happens while it is away,
//! what one replica sees of the others.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::PostgresStore;
use crate::stores::aging::old_rows_become_sums;
use crate::stores::sample::{NOON_MS, record};
use crate::stores::servers::{Postgres, database_name, directory_of, free_port, skip};
use crate::stores::{
    Feedback, FeedbackOutcome, Ledger, LedgerError, LedgerOptions, LedgerSource, SpendBy,
    SpendFilter, TimeRange, UsageReads, UsageSink,
};
use crate::types::{PostgresUrl, RequestId, RequestRecord};

const PATIENCE: Duration = Duration::from_secs(20);

fn options(slots: usize) -> LedgerOptions {
    LedgerOptions {
        slots,
        batch_records: 4,
        batch_delay: Duration::from_millis(1),
        ..LedgerOptions::default()
    }
}

fn open(address: &str, journal: &Path) -> Result<Ledger, LedgerError> {
    let url = PostgresUrl::parse(address).expect("an address");
    Ledger::postgres_with(&url, journal, options(64), Duration::ZERO)
}

fn commit(ledger: &Ledger, id: &str) {
    ledger.reserve().expect("a slot").commit(record(id));
}

fn flush(ledger: &Ledger) {
    while ledger.flush_blocking(PATIENCE).is_err() {}
}

fn spent(ledger: &Ledger) -> i128 {
    let all = ledger.spent(&SpendFilter::default(), TimeRange::since(0));
    all.expect("a sum").pico()
}

fn check_refused(address: &str, expect: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let error = open(address, &directory.path().join("journal")).expect_err("refused");
    assert!(matches!(error, LedgerError::Refused { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(expect), "{text}");
    let shown = format!("{text} {error:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("p@ss"),
        "{shown}"
    );
}

#[test]
fn whoever_may_not_in_is_told_why_and_what_to_do() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let address = server.database();
    let name = database_name(&address);
    let encoded = Postgres::PASSWORD_ENCODED;
    check_refused(
        &server.address("tollgate", "hunter2", name),
        "password authentication failed for user \"tollgate\" (28P01); check user and password",
    );
    check_refused(
        &server.address("tollgate", encoded, "nowhere"),
        "database \"nowhere\" does not exist (3D000); create the database first",
    );
    let with_tls = address.replace("sslmode=disable", "sslmode=require");
    check_refused(&with_tls, "server does not support TLS");
    let lacks_file = address.replace(
        "sslmode=disable",
        "sslmode=verify-ca&sslrootcert=/no/ca.pem",
    );
    check_refused(&lacks_file, "sslrootcert /no/ca.pem");

    server.sql(name, "CREATE USER guest PASSWORD 'hunter2'");
    let guest = server.address("guest", "hunter2", name);
    check_refused(&guest, "permission denied for database");
    let directory = tempfile::tempdir().expect("a directory");
    drop(open(&address, &directory.path().join("journal")).expect("a ledger"));
    check_refused(&guest, "permission denied for schema tollgate (42501)");
    server.sql(
        name,
        "GRANT USAGE ON SCHEMA tollgate TO guest; GRANT SELECT ON ALL TABLES IN SCHEMA tollgate TO guest",
    );
    check_refused(&guest, "this user may not read and write requests");
    let guest_reads = LedgerSource::Postgres {
        url: Box::new(PostgresUrl::parse(&guest).expect("an address")),
        journal: directory.path().join("none"),
    };
    assert!(guest_reads.open().expect("may read").span().is_ok());
    server.sql(
        name,
        "GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA tollgate TO guest",
    );
    assert!(open(&guest, &directory.path().join("journal")).is_ok());

    server.sql(name, "INSERT INTO tollgate.schema_version VALUES (99)");
    check_refused(
        &address,
        "written by a newer tollgate (schema 99, this one knows up to 2)",
    );
    let newer = guest_reads.open().err().expect("refused").to_string();
    assert!(newer.contains("written by a newer tollgate"), "{newer}");
}

#[test]
fn nobody_there_is_said_and_an_empty_database_is_no_ledger() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = directory.path().join("journal");
    let nobody = format!("postgres://u:hunter2@127.0.0.1:{}/d", free_port());
    let error = open(&nobody, &journal).expect_err("nobody there");
    assert!(
        matches!(error, LedgerError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("refused"), "{error}");
    let Some(server) = Postgres::shared() else {
        return;
    };
    let source = LedgerSource::Postgres {
        url: Box::new(PostgresUrl::parse(&server.database()).expect("an address")),
        journal,
    };
    let error = source.open().err().expect("no ledger");
    assert!(matches!(error, LedgerError::Missing { .. }), "{error:?}");
}

#[test]
fn a_record_that_the_database_never_takes_is_set_aside_and_holds_up_no_other() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let address = server.database();
    let directory = tempfile::tempdir().expect("a directory");
    let ledger = open(&address, &directory.path().join("journal")).expect("a ledger");
    let name = database_name(&address);
    let never = "ALTER TABLE tollgate.requests ADD CHECK (request_id <> 'req_2')";
    server.sql(name, never);
    for number in 0..8 {
        commit(&ledger, &format!("req_{number}"));
    }
    flush(&ledger);
    assert_eq!(spent(&ledger), 7 * record("req").cost.pico());
    assert!(ledger.is_healthy(), "nothing waits");
    let aside = directory.path().join("journal.refused.jsonl");
    let aside = std::fs::read_to_string(aside).expect("set aside");
    let kept: Vec<RequestRecord> = aside
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect();
    assert_eq!(kept.len(), 1);
    let expect = record("req_2");
    assert_eq!(
        (&kept[0].request_id, kept[0].cost),
        (&expect.request_id, expect.cost)
    );
}

#[test]
fn old_rows_become_sums_and_everything_still_adds_up() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let address = server.database();
    let url = PostgresUrl::parse(&address).expect("an address");
    let directory = tempfile::tempdir().expect("a directory");
    let journal = directory.path().join("journal");
    let opened = PostgresStore::open(&url, &journal, 64, Duration::ZERO);
    let (mut sink, store, _journal) = opened.expect("a ledger");
    let reports = || store.reports().expect("a view");
    old_rows_become_sums(&mut sink, &store, &reports, |sink, horizon_ms| {
        // Another replica that is at it is left alone.
        let name = database_name(&address);
        let hold = "SELECT pg_advisory_lock(1414285138), pg_sleep(2)";
        std::thread::scope(|scope| {
            scope.spawn(|| server.sql(name, hold));
            let locked = "DO $$ BEGIN WHILE NOT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' \
                          AND objid = 1414285138) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$";
            server.sql(name, locked);
            assert_eq!(sink.purge(horizon_ms, 7).expect("nothing"), 0);
        });
        let unlocked = "DO $$ BEGIN WHILE EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' \
                        AND objid = 1414285138) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$";
        server.sql(name, unlocked);
    });
    // Traffic goes on.
    sink.append(&[Arc::new(record("req_new"))]).expect("stored");
}

#[test]
fn replicas_that_start_at_once_share_what_they_store() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let address = server.database();
    let directory = tempfile::tempdir().expect("a directory");
    let journal = |replica: usize| directory.path().join(format!("journal{replica}"));
    let ledgers: Vec<Ledger> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..6)
            .map(|replica| {
                let (address, journal) = (address.clone(), journal(replica));
                scope.spawn(move || open(&address, &journal).expect("a ledger"))
            })
            .collect();
        let started = starting.into_iter().map(|it| it.join().expect("a thread"));
        started.collect()
    });
    let in_use = open(&address, &journal(0))
        .expect_err("refused")
        .to_string();
    assert!(
        in_use.contains("give each replica on a machine its own `state.journal`"),
        "{in_use}"
    );

    std::thread::scope(|scope| {
        for (replica, ledger) in ledgers.iter().enumerate() {
            scope.spawn(move || {
                for number in 0..40 {
                    commit(ledger, &format!("req_{replica}_{number}"));
                    // What two replicas were to store both, is stored once.
                    commit(ledger, &format!("req_both_{number}"));
                    flush(ledger);
                }
            });
        }
    });
    let cost = record("req").cost.pico();
    for ledger in &ledgers {
        assert_eq!(spent(ledger), 280 * cost);
        let of_another = ledger.request(&RequestId::from_text("req_3_39"));
        assert!(of_another.expect("a read").is_some());
    }
    let rows = ledgers[1].spend_by(SpendBy::Team, TimeRange::since(0));
    let rows = rows.expect("rows");
    assert_eq!((rows[0].requests, rows[0].attempts), (280, 280));

    let opinion = Feedback {
        request_id: RequestId::from_text("req_0_0"),
        reward: 1.0,
        kind: "thumbs".to_owned(),
        comment: Some("nul \0 in it".to_owned()),
        at_ms: NOON_MS,
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let telling: Vec<_> = ledgers
            .iter()
            .map(|ledger| scope.spawn(|| ledger.put_feedback(&opinion).expect("stored")))
            .collect();
        let told = telling.into_iter().map(|it| it.join().expect("a thread"));
        told.collect()
    });
    let new = outcomes.iter().filter(|it| **it == FeedbackOutcome::New);
    assert_eq!(new.count(), 1, "one replica learns from it: {outcomes:?}");
}

#[test]
fn a_nul_from_a_client_stops_neither_rows_nor_reports() {
    let Some(server) = Postgres::shared() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let address = server.database();
    let ledger = open(&address, &directory.path().join("journal")).expect("a ledger");
    let mut written = record("req_1");
    written.end_user = Some("nul \0 user".to_owned());
    written.asked_model = "\0".to_owned();
    written.tags = vec![("a\0b".to_owned(), "\\u0000 \0".to_owned())];
    ledger.reserve().expect("a slot").commit(written.clone());
    flush(&ledger);
    let found = ledger.request(&written.request_id).expect("a read");
    assert_eq!(
        found.expect("a record").tags,
        written.tags,
        "the record is whole"
    );
    let query = crate::stores::ReportQuery {
        range: TimeRange::since(0),
        by: vec!["tag:a\u{fffd}b".parse().expect("a dimension")],
        at_most: None,
    };
    let report = ledger.reports().expect("a view").report(&query);
    assert_eq!(report.expect("a report").total.requests, 1);
}

#[test]
fn a_server_that_goes_away_costs_no_record_and_stops_admission_at_the_bound() {
    let Some(mut server) = Postgres::own(&[]) else {
        return skip("a Postgres server", "postgresql");
    };
    let address = server.database();
    let directory = tempfile::tempdir().expect("a directory");
    let journal = directory.path().join("journal");
    let ledger = open(&address, &journal).expect("a ledger");
    commit(&ledger, "req_0");
    flush(&ledger);

    server.stop(true);
    (1..40).for_each(|number| commit(&ledger, &format!("req_{number}")));
    let error = ledger
        .flush_blocking(PATIENCE)
        .expect_err("away")
        .to_string();
    assert!(error.contains("not reachable"), "{error}");
    assert_eq!(ledger.lag(), 39);
    assert!(ledger.trouble().is_some());
    assert!(ledger.is_healthy(), "there is room: stay in the balancer");
    let waiting = ledger.request(&RequestId::from_text("req_39"));
    assert!(waiting.expect("in the journal").is_some());
    (40..65).for_each(|number| commit(&ledger, &format!("req_{number}")));
    assert!(ledger.reserve().is_err(), "no more than the bound");
    assert!(!ledger.is_healthy());
    let error = ledger.recent(1).expect_err("away");
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");

    server.start();
    flush(&ledger);
    let cost = record("req").cost.pico();
    assert_eq!((ledger.lag(), spent(&ledger)), (0, 65 * cost));
    assert!(ledger.is_healthy() && ledger.trouble().is_none());

    // The next process ships what this one could not, once.
    server.stop(false);
    commit(&ledger, "req_65");
    drop(ledger);
    let url = PostgresUrl::parse(&address).expect("an address");
    let starting = std::thread::spawn(move || {
        let again = Ledger::postgres_with(&url, &journal, options(64), PATIENCE);
        let again = again.expect("it waits for the server");
        (spent(&again), again.lag())
    });
    server.start();
    let (spent, lag) = starting.join().expect("a thread");
    assert_eq!((spent, lag), (66 * cost, 0));

    // Somebody empties the database under a running ledger: the tables come back with the next batch.
    let ledger = open(&address, &directory.path().join("journal2")).expect("a ledger");
    let name = database_name(&address);
    server.sql(name, "DROP SCHEMA tollgate CASCADE");
    commit(&ledger, "req_66");
    flush(&ledger);
    assert_eq!(
        server.sql(name, "SELECT count(*) FROM tollgate.requests"),
        "1"
    );
}

#[test]
fn tls_is_as_strict_as_the_address_asks() {
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).expect("signed").pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let server_key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .and_then(|parameters| parameters.signed_by(&server_key, &issuer))
        .expect("signed");
    let directory = directory_of("postgres", "tollgate-tls-");
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("written");
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, mode).expect("its own");
        path.display().to_string()
    };
    let certificate = file("server.crt", &certificate.pem());
    let key = file("server.key", &server_key.serialize_pem());
    // Nobody but root can give files away; without root the server runs as this user.
    let _given = Command::new("chown")
        .args(["postgres", &certificate, &key])
        .stderr(std::process::Stdio::null())
        .status();
    let trusted = file("ca.crt", &authority_pem);
    let stranger = rcgen::generate_simple_self_signed(vec!["stranger".to_owned()]);
    let stranger = file("stranger.crt", &stranger.expect("signed").cert.pem());
    let options = [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={certificate}"),
        format!("ssl_key_file={key}"),
    ];
    let Some(server) = Postgres::own(&options.each_ref().map(String::as_str)) else {
        return skip("a Postgres server", "postgresql");
    };
    let address = server.database();
    let with = |host: &str, mode: &str| {
        let address = address.replace("127.0.0.1", host);
        address.replace("sslmode=disable", &format!("sslmode={mode}"))
    };
    let journal = tempfile::tempdir().expect("a directory");
    let in_tls = |address: &str| {
        let ledger = open(address, &journal.path().join("journal")).expect("a ledger");
        commit(&ledger, "req_1");
        flush(&ledger);
        let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                         WHERE ssl AND application_name = 'tollgate'";
        server.sql(database_name(address), encrypted) != "0"
    };
    assert!(!in_tls(&with("127.0.0.1", "disable")));
    assert!(in_tls(&with("127.0.0.1", "prefer")));
    assert!(in_tls(&with("127.0.0.1", "require")));
    assert!(in_tls(&with(
        "127.0.0.1",
        &format!("verify-ca&sslrootcert={trusted}")
    )));
    assert!(in_tls(&with(
        "localhost",
        &format!("verify-full&sslrootcert={trusted}")
    )));
    let wrong_name = with("127.0.0.1", &format!("verify-full&sslrootcert={trusted}"));
    check_refused(&wrong_name, "certificate");
    let wrong_authority = with("localhost", &format!("require&sslrootcert={stranger}"));
    check_refused(&wrong_authority, "certificate");
    check_refused(&with("localhost", "verify-full"), "certificate");
    drop(server);
    let _removed = std::fs::remove_dir_all(directory);
}

/// `cargo test --release --lib stores::postgres -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn measures_how_fast_a_backlog_is_shipped() {
    const RECORDS: usize = 20_000;
    let Some(mut server) = Postgres::own(&[]) else {
        return skip("a Postgres server", "postgresql");
    };
    let directory = tempfile::tempdir().expect("a directory");
    let url = PostgresUrl::parse(&server.database()).expect("an address");
    let journal = directory.path().join("journal");
    let open = || {
        let options = LedgerOptions::default();
        Ledger::postgres_with(&url, &journal, options, PATIENCE).expect("a ledger")
    };
    let ledger = open();
    server.stop(false);
    (0..RECORDS).for_each(|number| commit(&ledger, &format!("req_{number}")));
    drop(ledger);
    server.start();
    let started = std::time::Instant::now();
    let ledger = open();
    let taken = started.elapsed();
    assert_eq!(ledger.recent(1).expect("records").len(), 1);
    println!("{RECORDS} records shipped in {taken:?}");
}
