use super::*;

const NOISY: u128 = 1;
const QUIET: u128 = 2;

fn turns(turns: usize, waiting: usize) -> Arc<Turns> {
    Turns::new(TurnSettings { turns, waiting, ..TurnSettings::default() })
}

/// Takes what is there at once.
async fn fill(turns: &Arc<Turns>, client: u128) -> Vec<Turn> {
    let mut taken = Vec::new();
    while turns.lines().turns.is_open_to(client) {
        taken.push(turns.take(client).await.unwrap());
    }
    taken
}

/// One more of that client, which has to wait.
fn waiter(turns: &Arc<Turns>, client: u128) -> tokio::task::JoinHandle<Result<Turn, NoTurn>> {
    let turns = Arc::clone(turns);
    tokio::spawn(async move { turns.take(client).await })
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_one_client_waits_and_another_one_does_not() {
    let turns = turns(6, 30);
    let mut noisy = fill(&turns, NOISY).await;
    assert_eq!(noisy.len(), 4);
    let crowd: Vec<_> = (0..20).map(|_| waiter(&turns, NOISY)).collect();
    settle().await;
    assert_eq!(turns.used(), (4, 6, 20));
    let quiet = turns.take(QUIET).await.unwrap();
    assert_eq!(turns.take(NOISY).await.unwrap_err(), NoTurn::Full, "two thirds of the places too");
    drop(quiet);
    // One goes on for each that ends.
    for (ended, next) in crowd.into_iter().enumerate() {
        noisy.remove(0);
        noisy.push(next.await.unwrap().unwrap());
        assert_eq!(turns.used(), (4, 6, 19 - ended));
    }
    drop(noisy);
    assert_eq!(turns.used(), (0, 6, 0));
}

#[tokio::test(start_paused = true)]
async fn clients_are_served_in_rounds() {
    let turns = turns(1, 300);
    let first = turns.take(9).await.unwrap();
    let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
    for client in [NOISY, NOISY, NOISY, QUIET, 3] {
        let (turns, sender) = (Arc::clone(&turns), sender.clone());
        tokio::spawn(async move {
            let turn = turns.take(client).await;
            sender.send(client).unwrap();
            drop(turn);
        });
        settle().await;
    }
    drop(first);
    let mut served = Vec::new();
    for _ in 0..5 {
        served.push(order.recv().await.unwrap());
    }
    assert_eq!(served, [NOISY, QUIET, 3, NOISY, NOISY]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_may_wait_and_a_standing_crowd_may_not() {
    let turns = turns(1, 3_000);
    let TurnSettings { patience, standing, .. } = turns.settings;
    let held = turns.take(NOISY).await.unwrap();
    let began = Instant::now();
    let mut burst = waiter(&turns, QUIET);
    settle().await;
    assert_eq!((&mut burst).await.unwrap().unwrap_err(), NoTurn::TooLong(patience));
    assert!(began.elapsed() >= patience);
    // Nobody waits any more: it begins anew, and somebody always waits from here on.
    let still: Vec<_> = (3..6).map(|client| waiter(&turns, client)).collect();
    tokio::time::sleep(patience / 2).await;
    let later: Vec<_> = (6..9).map(|client| waiter(&turns, client)).collect();
    tokio::time::sleep(patience / 2 + Duration::from_millis(1)).await;
    let began = Instant::now();
    assert_eq!(turns.take(QUIET).await.unwrap_err(), NoTurn::TooLong(standing));
    assert!((standing..patience).contains(&began.elapsed()));
    for waiter in still.into_iter().chain(later) {
        assert_eq!(waiter.await.unwrap().unwrap_err(), NoTurn::TooLong(patience));
    }
    drop(held);
    assert!(turns.take(QUIET).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_has_gone_is_passed_over_and_no_turn_is_lost() {
    let turns = turns(1, 300);
    let held = turns.take(9).await.unwrap();
    let gone = [waiter(&turns, NOISY), waiter(&turns, 3)];
    let stays = waiter(&turns, QUIET);
    settle().await;
    gone.iter().for_each(tokio::task::JoinHandle::abort);
    settle().await;
    let clone = held.clone();
    held.end();
    held.end();
    let turn = stays.await.unwrap().unwrap();
    assert_eq!(turns.used(), (1, 1, 0));
    drop((held, clone));
    assert_eq!(turns.used(), (1, 1, 0), "a turn ends once");
    drop(turn);
    assert_eq!(turns.used(), (0, 1, 0));
    assert!(turns.lines().round.is_empty() && turns.lines().waiting.is_empty());
}
