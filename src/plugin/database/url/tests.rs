//! What people write down, and that none of it is ever shown.

use rand::RngExt as _;

use super::*;

fn server(text: &str) -> Server {
    match Location::parse(text) {
        Ok(Location::Server(server)) => server,
        other => panic!("{text}: {other:?}"),
    }
}

/// User, password, endpoints, database.
fn login(text: &str) -> (String, String, String, String) {
    let server = server(text);
    let endpoints: Vec<String> = server.endpoints.iter().map(ToString::to_string).collect();
    let password = server.password.map(|password| password.reveal().to_owned());
    (server.user.unwrap_or_default(), password.unwrap_or_default(), endpoints.join(" "), server.database.unwrap_or_default())
}

#[test]
fn every_way_to_write_a_server_down_is_understood() {
    let cases = [
        ("postgres://app:secret@db:5433/shop", Engine::Postgres, "app", "secret", "db:5433", "shop"),
        ("postgresql://app@db/shop", Engine::Postgres, "app", "", "db:5432", "shop"),
        ("postgresql+psycopg2://app:s%40c%2Fr%3At%25@db/shop", Engine::Postgres, "app", "s@c/r:t%", "db:5432", "shop"),
        ("postgresql+asyncpg://app:a@b@db/shop", Engine::Postgres, "app", "a@b", "db:5432", "shop"),
        ("postgres://app:a/b?c#d@db:6432/shop?sslmode=disable", Engine::Postgres, "app", "a/b?c#d", "db:6432", "shop"),
        ("POSTGRES://app@[fd00::7]:5433/shop", Engine::Postgres, "app", "", "[fd00::7]:5433", "shop"),
        ("postgres://app@a:1,b:2,c/shop", Engine::Postgres, "app", "", "a:1 b:2 c:5432", "shop"),
        (
            "postgresql:///shop?host=/cloudsql/p:r:i&user=app",
            Engine::Postgres,
            "app",
            "",
            "/cloudsql/p:r:i/.s.PGSQL.5432",
            "shop",
        ),
        ("postgresql://app@%2Fvar%2Frun/shop", Engine::Postgres, "app", "", "/var/run/.s.PGSQL.5432", "shop"),
        ("jdbc:postgresql://db:5432/shop?user=app&password=p%26w", Engine::Postgres, "app", "p&w", "db:5432", "shop"),
        (
            "host=db port=5433 dbname=shop user=app password='it\\'s \\\\ ok'",
            Engine::Postgres,
            "app",
            "it's \\ ok",
            "db:5433",
            "shop",
        ),
        ("host = db user = app", Engine::Postgres, "app", "", "db:5432", ""),
        (
            "Host=db;Port=5433;Database=shop;Username=app;Password=\"a;b\"\"c\"",
            Engine::Postgres,
            "app",
            "a;b\"c",
            "db:5433",
            "shop",
        ),
        ("Server=db;Database=shop;Uid=app;Pwd=x=y;SslMode=Required", Engine::Mysql, "app", "x=y", "db:3306", "shop"),
        ("mysql://app:secret@db/shop", Engine::Mysql, "app", "secret", "db:3306", "shop"),
        ("mysql2://app:secret@db:3307/shop?pool=5", Engine::Mysql, "app", "secret", "db:3307", "shop"),
        ("mysql+pymysql://app@/shop?unix_socket=/cloudsql/i", Engine::Mysql, "app", "", "/cloudsql/i", "shop"),
        ("mariadb+mariadbconnector://app@db/shop", Engine::Mysql, "app", "", "db:3306", "shop"),
        ("app:p@:w@tcp(db:3307)/shop?parseTime=true", Engine::Mysql, "app", "p@:w", "db:3307", "shop"),
        ("mysql://app:secret@tcp(db)/shop", Engine::Mysql, "app", "secret", "db:3306", "shop"),
        ("app:secret@unix(/run/m.sock)/shop", Engine::Mysql, "app", "secret", "/run/m.sock", "shop"),
    ];
    for (text, engine, user, password, endpoints, database) in cases {
        assert_eq!(server(text).engine, engine, "{text}");
        let expected = (user.to_owned(), password.to_owned(), endpoints.to_owned(), database.to_owned());
        assert_eq!(login(text), expected, "{text}");
    }
}

#[test]
fn files_are_paths() {
    for (text, path) in [
        ("sqlite:app.db", "app.db"),
        ("/data/app.db", "/data/app.db"),
        ("sqlite:///app.db", "/app.db"),
        ("sqlite:////data/app.db?mode=rw", "/data/app.db"),
        ("sqlite3://data/app.db", "data/app.db"),
        ("sqlite+aiosqlite:////data/a%20b.db", "/data/a b.db"),
        ("file:./dev.db", "./dev.db"),
    ] {
        assert_eq!(Location::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")), Location::File(path.to_owned()), "{text}");
    }
}

#[test]
fn tls_is_meant_as_each_driver_means_it() {
    for (text, mode) in [
        ("postgres://db/a", TlsMode::Prefer),
        ("postgres://db/a?sslmode=disable", TlsMode::Disable),
        ("postgres://db/a?sslmode=verify-full", TlsMode::VerifyFull),
        ("host=db sslmode=verify-ca", TlsMode::VerifyCa),
        ("jdbc:postgresql://db/a?ssl=true", TlsMode::Require),
        ("mysql://db/a?ssl-mode=VERIFY_IDENTITY", TlsMode::VerifyFull),
        ("a:b@tcp(db)/a?tls=true", TlsMode::VerifyFull),
        ("a:b@tcp(db)/a?tls=skip-verify", TlsMode::Require),
        ("jdbc:mysql://db/a?useSSL=false", TlsMode::Disable),
        ("Host=db;Username=a;SSL Mode=Require", TlsMode::Require),
    ] {
        assert_eq!(server(text).tls.mode, mode, "{text}");
    }
    let tls = server("postgres://db/a?sslrootcert=/c/ca.pem&sslcert=/c/me.pem&sslkey=/c/me.key").tls;
    assert_eq!((tls.roots.as_deref(), tls.certificate.as_deref()), (Some("/c/ca.pem"), Some("/c/me.pem")));
    assert_eq!(tls.key.as_deref(), Some("/c/me.key"));
}

#[test]
fn what_is_no_database_is_refused_without_repeating_it() {
    for text in [
        "",
        "hunter2",
        "redis://:hunter2@db",
        "https://hunter2",
        "postgres://a:hunter2@db:hunter2/x",
        "host=db password='hunter2",
        "hunter2 host=db word",
        "Host=db;hunter2",
        "postgres://u:hunter2@db:70000/",
        "postgres://u:hunter2%ff@db/",
        "host=a,b port=1,2,3 password=hunter2",
        "service=hunter2-service password=hunter2",
        "Server=db;Password=hunter2",
    ] {
        let failure = Location::parse(text).expect_err(text);
        let said = format!("{failure:?}").replace("hunter2-service", "");
        assert!(!said.contains("hunter2"), "{text}: {said}");
    }
}

#[test]
fn a_password_that_looks_like_another_form_is_one() {
    for password in ["://OKB*", "postgres://x@y/z", "a@tcp(b)/c", "sqlite:x", "jdbc:x", "a;b=c", "/x"] {
        for text in [
            format!("host=db user=app dbname=shop password='{password}'"),
            format!("password='{password}' host=db user=app dbname=shop"),
            format!("Host=db;Username=app;Database=shop;Password=\"{password}\""),
        ] {
            assert_eq!(server(&text).password.as_ref().map(Password::reveal), Some(password), "{text}");
        }
    }
}

/// Passwords of every odd character, in every form that takes them: read back whole where the form allows it, never shown.
#[test]
fn no_password_is_ever_shown() {
    let odd: Vec<char> = (' '..='~').chain("äß€😀\u{0}\t".chars()).collect();
    let mut random = rand::rng();
    for _ in 0..3000 {
        let length = random.random_range(8..24);
        let password: String = (0..length).map(|_| odd[random.random_range(0..odd.len())]).collect();
        let encoded = percent_encoding::utf8_percent_encode(&password, percent_encoding::NON_ALPHANUMERIC).to_string();
        let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
        let whole = [
            format!("postgres://app:{encoded}@db/shop"),
            format!("postgresql:///shop?host=db&user=app&password={encoded}"),
            format!("mysql+pymysql://app:{encoded}@db/shop"),
            format!("host=db user=app dbname=shop password='{quoted}'"),
            format!("Host=db;Username=app;Database=shop;Password=\"{}\"", password.replace('"', "\"\"")),
        ];
        for text in &whole {
            let server = server(text);
            assert_eq!(server.password.as_ref().map(Password::reveal), Some(password.as_str()), "{text}");
            let location = Location::Server(server);
            for shown in [format!("{location}"), format!("{location:?}"), format!("{location:#?}")] {
                assert!(!shown.contains(&password) && !shown.contains(&encoded), "{shown}");
            }
        }
        // Not encoded as it should be: whatever comes of it, it is not repeated.
        for text in [format!("postgres://app:{password}@db/shop"), format!("app:{password}@tcp(db)/shop"), format!("x{password}")]
        {
            let said = match Location::parse(&text) {
                Ok(location) => format!("{location} {location:?}"),
                Err(failure) => format!("{failure:?}"),
            };
            assert!(!said.contains(&password), "{said}");
        }
    }
}
