//! Where a Postgres database is and how to get in: `postgres://user:password@host:port/database?…`.
//!
//! Read here, so that a wrong address is found with its line when the configuration is loaded, not
//! when somebody first needs the database. Follows the form of libpq's connection URIs (PostgreSQL
//! documentation, §34.1.1.2) for the parameters listed in [`PARAMETERS`].

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

/// The parameters behind the `?`, as messages list them.
pub const PARAMETERS: &str =
    "sslmode, sslrootcert, connect_timeout, application_name, target_session_attrs, host";

/// Postgres' own port.
const DEFAULT_PORT: u16 = 5432;
/// Long enough for a slow network, short enough that the next of several hosts gets its turn.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How far the connection is protected: libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PostgresTls {
    /// Never encrypted.
    Disable,
    /// Encrypted when the server offers it; whose server it is, nobody checks.
    #[default]
    Prefer,
    /// Encrypted; whose server it is, nobody checks (unless `sslrootcert` is given: then as
    /// `verify-ca`, like libpq).
    Require,
    /// Encrypted, and the certificate comes from a trusted authority.
    VerifyCa,
    /// Encrypted, from a trusted authority, and made out to this host.
    VerifyFull,
}

/// A database's address with its credentials. Prints without the password.
#[derive(Clone)]
pub struct PostgresUrl {
    /// Who logs in.
    pub user: String,
    /// The password, when there is one.
    pub password: Option<SecretString>,
    /// Hosts (or directories of Unix sockets, which begin with `/`) and ports, tried in order.
    pub hosts: Vec<(String, u16)>,
    /// The database.
    pub database: String,
    /// How far the connection is protected.
    pub tls: PostgresTls,
    /// PEM file of the authorities to trust, instead of the public ones.
    pub root_certificate: Option<PathBuf>,
    /// How long one host may take to answer.
    pub connect_timeout: Duration,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
    /// Of several hosts, take only one that accepts writes.
    pub read_write: bool,
}

/// Why a text is no address of a Postgres database. Never repeats the text, which may hold a
/// password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostgresUrlError {
    /// It does not begin as one.
    #[error("a Postgres address begins with `postgres://`")]
    Scheme,
    /// Nobody to log in as.
    #[error("no user; it is postgres://user:password@host/database")]
    User,
    /// No database.
    #[error("no database; it is postgres://user:password@host/database")]
    Database,
    /// No host.
    #[error("no host; it is postgres://user:password@host/database")]
    Host,
    /// A port that is none.
    #[error("`{0}` is no port")]
    Port(String),
    /// `%` without two hex digits, or bytes that are no UTF-8.
    #[error("the {0} is not percent-encoded rightly; write `%` as %25, `@` as %40, `/` as %2F")]
    Encoding(&'static str),
    /// A parameter that is unknown.
    #[error("unknown parameter `{0}`; allowed are {PARAMETERS}")]
    Parameter(String),
    /// A parameter with a value that it does not take.
    #[error("{name} is `{value}`; allowed is {allowed}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        allowed: &'static str,
    },
}

impl PostgresUrl {
    /// True for a text that means to be one.
    #[must_use]
    pub fn is_meant_by(text: &str) -> bool {
        text.starts_with("postgres:") || text.starts_with("postgresql:")
    }

    /// Reads an address.
    ///
    /// # Errors
    /// When it is none, or says something that is not understood.
    pub fn parse(text: &str) -> Result<Self, PostgresUrlError> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or(PostgresUrlError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        // The last `@`: one in the password that was not encoded is still understood.
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password, "password")?)),
            None => (login, None),
        };
        let mut url = Self {
            user: decoded(user, "user")?,
            password: password
                .filter(|password| !password.is_empty())
                .map(SecretString::from),
            hosts: hosts_of(hosts)?,
            database: decoded(database, "database")?,
            tls: PostgresTls::default(),
            root_certificate: None,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            application_name: "tollgate".to_owned(),
            read_write: false,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            url.set(name, decoded(value, "parameter")?)?;
        }
        if url.user.is_empty() {
            return Err(PostgresUrlError::User);
        }
        if url.database.is_empty() {
            return Err(PostgresUrlError::Database);
        }
        if url.hosts.is_empty() {
            return Err(PostgresUrlError::Host);
        }
        Ok(url)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), PostgresUrlError> {
        let wrong = |name, value, allowed| PostgresUrlError::Value {
            name,
            value,
            allowed,
        };
        match name {
            "sslmode" => {
                self.tls = match value.as_str() {
                    "disable" => PostgresTls::Disable,
                    "prefer" => PostgresTls::Prefer,
                    "require" => PostgresTls::Require,
                    "verify-ca" => PostgresTls::VerifyCa,
                    "verify-full" => PostgresTls::VerifyFull,
                    _ => {
                        let allowed = "disable, prefer, require, verify-ca or verify-full";
                        return Err(wrong("sslmode", value, allowed));
                    }
                }
            }
            "sslrootcert" => self.root_certificate = Some(value.into()),
            "application_name" => self.application_name = value,
            "connect_timeout" => {
                let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                let Some(seconds) = seconds else {
                    return Err(wrong(
                        "connect_timeout",
                        value,
                        "a number of seconds above 0",
                    ));
                };
                self.connect_timeout = Duration::from_secs(seconds);
            }
            "target_session_attrs" => {
                self.read_write = match value.as_str() {
                    "any" => false,
                    "read-write" => true,
                    _ => return Err(wrong("target_session_attrs", value, "any or read-write")),
                }
            }
            "host" => self.hosts = hosts_of(&value)?,
            _ => return Err(PostgresUrlError::Parameter(name.to_owned())),
        }
        Ok(())
    }
}

/// `host`, `host:port`, `[::1]:port`, `/directory`, several of them with commas.
fn hosts_of(text: &str) -> Result<Vec<(String, u16)>, PostgresUrlError> {
    let mut hosts = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (host, port) = match part.strip_prefix('[').and_then(|it| it.split_once(']')) {
            Some((address, rest)) => (address, rest.strip_prefix(':')),
            None => match part.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (part, None),
            },
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| PostgresUrlError::Port(port.to_owned()))?,
        };
        hosts.push((decoded(host, "host")?, port));
    }
    Ok(hosts)
}

/// Undoes percent-encoding (RFC 3986 §2.1).
fn decoded(text: &str, part: &'static str) -> Result<String, PostgresUrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(PostgresUrlError::Encoding(part));
        };
        bytes.extend(u8::try_from(high * 16 + low));
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(PostgresUrlError::Encoding(part)),
    }
}

impl PartialEq for PostgresUrl {
    fn eq(&self, other: &Self) -> bool {
        let exposed = |url: &Self| {
            let password = url.password.as_ref();
            password.map(|password| password.expose_secret().to_owned())
        };
        self.to_string() == other.to_string()
            && exposed(self) == exposed(other)
            && self.tls == other.tls
            && self.root_certificate == other.root_certificate
            && self.connect_timeout == other.connect_timeout
            && self.application_name == other.application_name
            && self.read_write == other.read_write
    }
}

impl Eq for PostgresUrl {}

impl fmt::Display for PostgresUrl {
    /// For messages: user, hosts and database; no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", self.user)?;
        for (at, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            if host.contains(':') {
                write!(f, "{comma}[{host}]:{port}")?;
            } else {
                write!(f, "{comma}{host}:{port}")?;
            }
        }
        write!(f, "/{}", self.database)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let url = PostgresUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let password = url.password.as_ref().map_or("-", |it| it.expose_secret());
        let found = format!("{url} {password} {:?} {:?}", url.tls, url.connect_timeout);
        assert_eq!(found, expect);
    }

    #[test]
    fn addresses_are_read_like_libpq_reads_them() {
        check("postgres://u:p@h/d", "postgres://u@h:5432/d p Prefer 5s");
        check(
            "postgresql://u:p%40%2F%25@h:6543/d?sslmode=verify-full&connect_timeout=9",
            "postgres://u@h:6543/d p@/% VerifyFull 9s",
        );
        check(
            "postgres://u@[::1]:5/d?sslmode=disable",
            "postgres://u@[::1]:5/d - Disable 5s",
        );
        check(
            "postgres://u@a,b:6543/d?target_session_attrs=read-write",
            "postgres://u@a:5432,b:6543/d - Prefer 5s",
        );
        check(
            "postgres://u@/d?host=/var/run/postgresql&sslmode=require",
            "postgres://u@/var/run/postgresql:5432/d - Require 5s",
        );
        check(
            "postgres://u:p@ss@h/d?sslmode=verify-ca&sslrootcert=%2Fetc%2Fca.pem",
            "postgres://u@h:5432/d p@ss VerifyCa 5s",
        );
    }

    fn check_wrong(text: &str, expect: &str) {
        let error = PostgresUrl::parse(text).expect_err(text).to_string();
        assert!(error.starts_with(expect), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        check_wrong("mysql://u:hunter2@h/d", "a Postgres address begins with");
        check_wrong("postgres://h/d", "no user");
        check_wrong("postgres://u:hunter2@h", "no database");
        check_wrong("postgres://u:hunter2@/d", "no host");
        check_wrong("postgres://u:hunter2@h:x/d", "`x` is no port");
        check_wrong("postgres://u:hunter2@h:0/d", "`0` is no port");
        check_wrong("postgres://u:hunter2%@h/d", "the password is not");
        check_wrong("postgres://u:hunter2@h/d?ssl=1", "unknown parameter `ssl`");
        check_wrong(
            "postgres://u:hunter2@h/d?sslmode=on",
            "sslmode is `on`; allowed is",
        );
        check_wrong(
            "postgres://u:hunter2@h/d?connect_timeout=0",
            "connect_timeout is",
        );
        check_wrong(
            "postgres://u:hunter2@h/d?target_session_attrs=x",
            "target_session_attrs is",
        );
    }

    #[test]
    fn a_password_is_never_printed() {
        let url = PostgresUrl::parse("postgres://u:hunter2@h/d").expect("an address");
        let printed = format!("{url} {url:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        let other = PostgresUrl::parse("postgres://u:hunter3@h/d").expect("an address");
        assert_ne!(url, other);
    }
}
