//! Instances spread over servers by what these take.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use secrecy::ExposeSecret as _;

use super::*;

/// Servers that count what was made on them, the instance `known` on one of them; others do not answer.
#[derive(Default)]
struct Made(HashMap<&'static str, AtomicU64>, Option<&'static str>, AtomicU64);

impl Made {
    fn on(servers: &[(&'static str, u64)]) -> Self {
        let servers = servers.iter().map(|(id, tenants)| (*id, AtomicU64::new(*tenants)));
        Self(servers.collect(), None, AtomicU64::default())
    }

    fn add(&self, id: &ServerId) {
        self.0[id.as_str()].fetch_add(1, SeqCst);
    }
}

#[async_trait]
impl Census for Made {
    async fn count(&self, member: &Member) -> Result<u64, Box<dyn Error + Send + Sync>> {
        let counted = self.0.get(member.id.as_str()).ok_or("it is down")?.load(SeqCst);
        self.2.fetch_add(1, SeqCst);
        tokio::task::yield_now().await;
        Ok(counted)
    }

    async fn has(&self, member: &Member, instance: &str) -> Result<bool, Box<dyn Error + Send + Sync>> {
        self.0.get(member.id.as_str()).ok_or("it is down")?;
        Ok(instance == "known" && self.1 == Some(member.id.as_str()))
    }
}

fn member(id: &str, capacity: u64, draining: bool) -> Member {
    Member { id: id.parse().unwrap(), site: Site::Own, capacity, draining }
}

#[tokio::test] // SPEC H-10
async fn the_least_used_server_with_room_is_taken() {
    let fleet = Fleet::of(vec![member("a", 10, false), member("b", 100, false), member("c", 100, true)]);

    let placed = fleet.place("i", &Made::on(&[("a", 5), ("b", 20), ("c", 0)])).await.unwrap();

    assert_eq!(placed.member.id.as_str(), "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)] // SPEC H-10
async fn many_placements_at_once_never_take_more_than_there_is() {
    let fleet = Arc::new(Fleet::of(vec![member("a", 30, false), member("b", 20, false)]));
    let made = Arc::new(Made::on(&[("a", 0), ("b", 0)]));

    let place = |number: usize| {
        let (fleet, made) = (Arc::clone(&fleet), Arc::clone(&made));
        tokio::spawn(async move {
            // Room that somebody holds may be free in a moment, so the full are asked again.
            for _ in 0..1000 {
                if let Ok(placed) = fleet.place(&format!("i{number}"), made.as_ref()).await {
                    tokio::task::yield_now().await;
                    made.add(&placed.member.id);
                    return true;
                }
            }
            false
        })
    };
    let placed = join_all((0..80).map(place)).await.into_iter().filter(|placed| *placed.as_ref().unwrap()).count();

    assert_eq!(placed, 50);
    assert_eq!((made.0["a"].load(SeqCst), made.0["b"].load(SeqCst)), (30, 20));
}

#[tokio::test] // SPEC H-10
async fn servers_are_not_counted_for_each_of_many_placements() {
    let fleet = Fleet::of(vec![member("a", 300, false), member("b", 100, false)]);
    let made = Made::on(&[("a", 0), ("b", 0)]);

    for number in 0..400 {
        let placed = fleet.place(&format!("i{number}"), &made).await.unwrap();
        made.add(&placed.member.id);
    }

    assert_eq!((made.0["a"].load(SeqCst), made.0["b"].load(SeqCst)), (300, 100));
    let counted = made.2.load(SeqCst);
    assert!(counted < 100, "counted {counted} times");
    // Tenants leave, which is seen where a plan would be full.
    made.0["a"].fetch_sub(1, SeqCst);
    let placed = fleet.place("later", &made).await.unwrap();
    made.add(&placed.member.id);
    assert!(matches!(fleet.place("last", &made).await, Err(FleetError::Full { servers: 2 })));
}

#[tokio::test] // SPEC H-10
async fn full_drained_and_silent_servers_are_told_apart() {
    let full = Fleet::of(vec![member("a", 1, false)]);
    assert!(matches!(full.place("i", &Made::on(&[("a", 1)])).await, Err(FleetError::Full { servers: 1 })));
    let drained = Fleet::of(vec![member("a", 1, true)]);
    assert!(matches!(drained.place("i", &Made::on(&[("a", 0)])).await, Err(FleetError::NoServer)));
    let silent = Fleet::of(vec![member("a", 1, false), member("down", 9, false)]);
    let refusal = silent.place("i", &Made::on(&[("a", 1)])).await.unwrap_err().to_string();
    assert_eq!(refusal, "no server of the plan answers: server \"down\": it is down");
    let placed = silent.place("i", &Made::on(&[("a", 0)])).await.unwrap();
    assert_eq!(placed.member.id.as_str(), "a");
}

#[tokio::test] // SPEC H-10
async fn an_instance_that_is_placed_twice_at_once_has_one_place_and_room_that_was_given_up_is_free() {
    let fleet = Fleet::of(vec![member("a", 1, false)]);
    let made = Made::on(&[("a", 0)]);
    let first = fleet.place("i", &made).await.unwrap();
    let second = fleet.place("i", &made).await.unwrap();
    drop(first);
    assert!(fleet.place("j", &made).await.is_err());
    drop(second);
    assert!(fleet.place("j", &made).await.is_ok());
}

#[tokio::test] // SPEC H-10
async fn an_instance_that_was_placed_before_is_found_on_a_server_that_is_full_or_draining() {
    for server in [member("a", 1, false), member("a", 9, true)] {
        let fleet = Fleet::of(vec![server, member("b", 9, false), member("down", 9, false)]);
        let made = Made { 1: Some("a"), ..Made::on(&[("a", 1), ("b", 0)]) };

        let placed = fleet.place("known", &made).await.unwrap();

        assert_eq!(placed.member.id.as_str(), "a");
        assert_eq!(fleet.place("other", &made).await.unwrap().member.id.as_str(), "b");
    }
}

#[test] // SPEC H-10
fn an_instance_is_at_home_where_it_remembers_or_on_the_first_server_when_there_was_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("servers.toml");
    fs::write(&file, "[[server]]\nid = \"a\"\ncapacity = 1\n[[server]]\nid = \"b\"\ncapacity = 1\n").unwrap();
    let fleet = Fleet::read(&file).unwrap();
    let home = |remembered| fleet.home(remembered, &["shared"]).map(|member| member.id.to_string());

    assert_eq!(home(Some("b")).unwrap(), "b");
    assert_eq!((home(None).unwrap(), home(Some("shared")).unwrap()), ("a".to_owned(), "a".to_owned()));
    let refusal = home(Some("c")).unwrap_err().to_string();
    assert_eq!(refusal, "the server \"c\" is not among its plan's servers any more: put it back, as draining");
    let only = Fleet::of(vec![member("moved", 1, false)]);
    assert!(only.home(Some("shared"), &["shared"]).is_err(), "another server is not the one from before");
}

#[test]
fn a_plans_servers_are_those_of_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("big.url"), "redis://:pw@big\n# a note\n").unwrap();
    fs::write(folder.path().join("empty.url"), "\n").unwrap();
    let id = "only".parse().unwrap();
    let of = |keys: PlanServers| keys.fleet(folder.path(), &id, Site::Own).map(|fleet| fleet.members().to_vec());

    let only =
        of(PlanServers { url_file: Some("big.url".into()), capacity: Some(3), ..PlanServers::default() }).unwrap();
    let refusal = |keys| of(keys).unwrap_err();

    assert!(
        matches!(&only[0], Member { capacity: 3, site: Site::Given(given), .. } if given.url.expose_secret() == "redis://:pw@big")
    );
    assert!(matches!(of(PlanServers::default()).unwrap()[..], [Member { capacity: u64::MAX, site: Site::Own, .. }]));
    let empty = refusal(PlanServers { url_file: Some("empty.url".into()), ..PlanServers::default() });
    assert!(empty.contains("is empty, write a URL there"), "{empty}");
    let both = PlanServers { servers: Some("a".into()), capacity: Some(1), ..PlanServers::default() };
    assert_eq!(both.key(), Some("servers"));
    assert_eq!(refusal(both), "each server in the file `servers` has a `capacity` of its own");
}

#[test]
fn a_server_is_opened_once_and_again_when_its_file_puts_it_elsewhere() {
    let at = |url: &str| Member { site: Site::Given(url.into()), ..member("a", 1, false) };
    let (servers, opened) = (InUse::default(), AtomicU64::new(0));
    let open = |member: &Member| servers.at(member, |_| Ok::<_, ()>(opened.fetch_add(1, SeqCst))).unwrap();

    assert_eq!([open(&at("x")), open(&at("x")), open(&at("y")), open(&member("a", 1, false))], [0, 0, 1, 2]);
    assert_eq!(servers.all(), [("a".parse().unwrap(), 2)]);
}

#[tokio::test] // SPEC H-10
async fn servers_are_added_and_drained_by_changing_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("servers.toml");
    fs::write(&file, "[[server]]\nid = \"a\"\ncapacity = 10\n").unwrap();
    let fleet = Fleet::read(&file).unwrap();
    let made = Made::on(&[("a", 0), ("b", 0)]);
    assert_eq!(fleet.place("i", &made).await.unwrap().member.id.as_str(), "a");

    fs::write(folder.path().join("b.url"), "redis://:secret@b:6379\n").unwrap();
    fs::write(
        &file,
        "[[server]]\nid = \"a\"\ncapacity = 10\ndraining = true\n[[server]]\nid = \"b\"\nurl-file = \"b.url\"\ncapacity = 5\n",
    )
    .unwrap();

    assert_eq!(fleet.place("i", &made).await.unwrap().member.id.as_str(), "b");
    assert!(fleet.home(Some("a"), &[]).unwrap().draining);
    assert!(!format!("{fleet:?}").contains("secret"));
    fs::write(&file, "[[server]]\nid = \"a\"\ncapacity = 10\nurl = 7 # secret\n").unwrap();
    let refusal = fleet.refresh().unwrap_err().to_string();
    assert!(refusal.contains("line 4") && !refusal.contains("secret"), "{refusal}");
    assert_eq!(fleet.members().len(), 2);
}
