//! What frameworks make of `DATABASE_URL`, by themselves: Debian's Python with SQLAlchemy and Django has to be
//! installed.

use std::process::Command;

use broker_core::EnvVars;

use crate::support::{Client, Shared, tenancy};

const SQLALCHEMY: &str = r#"
import os
import sqlalchemy as sa

engine = sa.create_engine(os.environ["DATABASE_URL"])
notes = sa.Table("notes", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.String(80)))
notes.metadata.create_all(engine)
with engine.begin() as connection:
    connection.execute(notes.insert().values(text="from SQLAlchemy"))
    print(connection.execute(sa.select(notes.c.text)).scalar())
"#;

const DJANGO: &str = r#"
import dj_database_url
import django
from django.conf import settings

settings.configure(DATABASES={"default": dj_database_url.config()}, DEFAULT_AUTO_FIELD="django.db.models.AutoField")
django.setup()
from django.db import connection, models

class Note(models.Model):
    text = models.CharField(max_length=80)
    class Meta:
        app_label = "notes"

with connection.schema_editor() as editor:
    editor.create_model(Note)
Note.objects.create(text="from Django")
print(Note.objects.get().text)
"#;

/// What a program prints that has nothing but an app's environment.
fn run(script: &str, env: &EnvVars) -> String {
    let mut python = Command::new("/usr/bin/python3");
    python.arg("-c").arg(script).env("DATABASE_URL", env.get("DATABASE_URL").unwrap().expose());
    let ended = python.output().expect("python3 is installed");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap().trim().to_owned()
}

#[tokio::test] // SPEC M-1
async fn frameworks_take_the_url_as_it_is() {
    let shared = Shared::server().await;
    let (_, _, env) = tenancy(&shared.broker).await;

    let said = tokio::task::spawn_blocking({
        let env = env.clone();
        move || [SQLALCHEMY, DJANGO].map(|script| run(script, &env))
    });

    assert_eq!(said.await.unwrap(), ["from SQLAlchemy", "from Django"]);
    let mut client = Client::of(&env).await.unwrap();
    assert_eq!(client.texts("SHOW TABLES").await, ["notes", "notes_note"]);
}
