/*
 * The rotation of refresh tokens, as src/core/rotation.ts and src/store/sessions.ts do it, for Spin.
 * README.md, beside this file, says what is modelled, within which bounds, and how to run it.
 *
 * There is one session. A token is its number in the chain: token n+1 is made from token n and from nothing else.
 * Times are ages in units of the clock. An age stops growing where nothing depends on it any more, and generations are
 * counted from the previous window on, so histories have no end.
 */

#ifndef GRACE
#define GRACE 2 /* one grace, in units of the clock */
#endif
#ifndef TABS
#define TABS 2 /* how many requests of the owner are under way at the same time */
#endif
#ifndef LAST
#define LAST 5 /* the last generation: LAST - FIRST rotations fit into two windows */
#endif
#ifndef BOUND
#define BOUND (4 * GRACE) /* what was superseded longer ago is never excused */
#endif

#define LONG_AGO (4 * GRACE + 1) /* where the age of a superseded token stops growing */
#define A_WHILE (GRACE + 1)      /* where the ages in the row stop growing */

#define NONE 0
#define OLD 1   /* every token from before the previous window */
#define FIRST 2 /* the token of the sign-in */

/* ---- The conditions of the rule. Each -D plants one mistake. ---- */

#ifdef PAUSE_GE
#define PAUSED (row.rotated >= GRACE)
#elif defined(NO_PAUSE)
#define PAUSED (false)
#else
#define PAUSED (row.rotated > GRACE)
#endif

#ifdef WINDOW_GE
#define WINDOW_OVER (row.window >= GRACE)
#else
#define WINDOW_OVER (row.window > GRACE)
#endif

#ifdef EXCUSE_LT
#define JUST_ROTATED (row.rotated < GRACE)
#else
#define JUST_ROTATED (row.rotated <= GRACE)
#endif

#ifdef EXCUSE_GT
#define IN_WINDOWS (MINE.token > row.previous_generation)
#elif defined(NO_PREVIOUS_WINDOW)
#define IN_WINDOWS (MINE.token >= row.window_generation)
#else
#define IN_WINDOWS (MINE.token >= row.previous_generation)
#endif

#ifdef NO_HASH
#define IS_CURRENT (true)
#else
#define IS_CURRENT (!forged && MINE.token == row.hash)
#endif

#ifdef NO_LIVE_IN_UPDATE
#define LIVE_IN_UPDATE (true)
#else
#define LIVE_IN_UPDATE (!row.ended)
#endif

#ifdef NO_LIVE_IN_SELECT
#define LIVE_IN_SELECT (true)
#else
#define LIVE_IN_SELECT (!row.ended)
#endif

#ifdef NO_MAC
#define RECOGNIZED (true)
#else
#define RECOGNIZED (!forged && key != GONE)
#endif

/* The bound of the model: where rotations are not renumbered, LAST bounds the whole history. */
#ifdef RESTORE
#define HAS_ROOM (row.generation < LAST)
#else
#define HAS_ROOM (row.generation < LAST || PAUSED || WINDOW_OVER)
#endif

/* ---- What there is. ---- */

/* The session's row in the database. */
typedef Row {
  byte hash = FIRST;  /* the token whose hash it holds */
  byte generation = FIRST;
  byte rotated;       /* the age of rotated_at */
  byte window;        /* the age of window_started_at */
  byte window_generation = FIRST;
  byte previous_generation = FIRST;
  bool ended          /* revoked_at is set */
};
Row row;

/* A token in a place. Its age is how long ago it was superseded; only the properties look at it. */
typedef Held {
  byte token;
  byte age
};
Held jar;            /* the browser's cookie jar, which all tabs share */
Held hand[TABS + 2]; /* by process: the token that travels to the server, or back. The thief's is what he holds. */
#define MINE hand[_pid]

mtype = { EVERYWHERE, SOMEWHERE, GONE };
mtype key = EVERYWHERE; /* which copies of the server know the session's key */

/* How far a request has come, and what the server decides. */
mtype = { IDLE, SENT, SENT_AGAIN, MISSED, ENDING, ANSWERED };
mtype = { ROTATED, REPEATED, REUSED, DEAD, REFUSED };

/* ---- The properties. ---- */

byte newest = FIRST;       /* the newest token that was ever issued */
bool promised = true;      /* the premises of (a) have held so far */
bool over = false;         /* the session has ended, in whatever way */
bool lost_commits = false; /* the database has gone back to an older row */

#define SUPERSEDED (MINE.token < newest)

/* Called when the server has decided about a request, and has written nothing yet. */
inline decide(outcome, honest) {
  if
#ifndef ANY_DELAY
  :: honest && SUPERSEDED && MINE.age > GRACE -> promised = false /* the owner's token comes later than a grace */
#endif
  :: !honest && !forged -> promised = false                       /* a thief acts */
  :: else
  fi;
  /* (a) While nobody else has acted, and the owner's tokens come within the grace, the owner is answered. */
  assert(!honest || !promised || outcome == ROTATED || outcome == REPEATED);
  /* (b) A token that was superseded longer ago than the bound ends the session, or finds it ended. */
  assert(forged || !SUPERSEDED || MINE.age <= BOUND || key != EVERYWHERE || lost_commits
    || outcome == REUSED || outcome == DEAD);
  /* (c) An ended session answers nothing, and only an ended session is said to be over. */
  assert(!over || outcome == DEAD || outcome == REFUSED);
  assert(over || outcome != DEAD);
  /* (d) A forged token is refused, and so is one that is ahead of its row. Whatever is refused writes nothing. */
  assert(!forged || outcome == REFUSED);
  assert(MINE.token <= row.generation || outcome == REFUSED || over);
  /* There is one chain: the row holds the hash of the token of its generation. */
  assert(row.hash == row.generation)
}

/* ---- The server. Each of its statements is one atomic step; other requests and time come between them. ---- */

/* UPDATE … SET … WHERE id AND token_hash = presented AND key_id AND live */
inline update(honest) {
  if
  :: !RECOGNIZED || key == SOMEWHERE -> decide(REFUSED, honest); done(honest)
  :: RECOGNIZED && IS_CURRENT && LIVE_IN_UPDATE ->
    if
    :: HAS_ROOM ->
      decide(ROTATED, honest);
      rotate();
      answer(honest);
      renumber()
    :: else -> done(honest) /* the bound of the model */
    fi
  :: RECOGNIZED && !(IS_CURRENT && LIVE_IN_UPDATE) ->
    if
    :: step == SENT_AGAIN -> decide(DEAD, honest); done(honest)
    :: else -> step = MISSED
    fi
  fi
}

inline rotate() {
  if
  :: PAUSED -> open_window(row.generation)
  :: !PAUSED && WINDOW_OVER -> open_window(row.window_generation)
  :: else
  fi;
  row.generation++;
  row.hash = MINE.token + 1;
  row.rotated = 0;
  if
  :: row.hash > newest -> newest = row.hash
  :: else
  fi
}

inline open_window(previous) {
#ifdef ONE_WINDOW
  if
  :: PAUSED -> row.previous_generation = row.generation
  :: else
  fi;
#else
  row.previous_generation = previous;
#endif
  row.window_generation = row.generation;
  row.window = 0
}

/* SELECT, when nothing was updated: why not? */
inline explain(honest) {
  if
  :: !LIVE_IN_SELECT -> decide(DEAD, honest); done(honest)
#ifdef ONE_RETRY
  :: LIVE_IN_SELECT && MINE.token == row.generation -> step = SENT_AGAIN
#else
  :: LIVE_IN_SELECT && MINE.token == row.generation -> step = SENT /* the row went back in between: try again */
#endif
  :: LIVE_IN_SELECT && MINE.token > row.generation ->
#ifdef AHEAD_IS_REUSE
    decide(REUSED, honest); step = ENDING
#else
    decide(REFUSED, honest); done(honest)
#endif
  :: LIVE_IN_SELECT && MINE.token < row.generation && JUST_ROTATED && IN_WINDOWS ->
    decide(REPEATED, honest);
#ifdef REPEAT_WRITES
    row.rotated = 0;
#endif
    answer(honest)
  :: LIVE_IN_SELECT && MINE.token < row.generation && !(JUST_ROTATED && IN_WINDOWS) ->
    decide(REUSED, honest); step = ENDING
  fi
}

/* UPDATE … SET revoked_at … WHERE id AND revoked_at IS NULL; then the answer says that the session has ended. */
inline end_session(honest) {
#ifndef NO_REVOKE
  row.ended = true;
  over = true;
#endif
  assert(row.ended);
  done(honest)
}

/* The answer carries the current token. The thief takes it or keeps what he has. */
inline answer(honest) {
  if
  :: MINE.token = row.hash; MINE.age = 0
  :: !honest
  fi;
  step = (honest -> ANSWERED : IDLE)
}

inline done(honest) {
  if
  :: honest || forged -> MINE.token = NONE; MINE.age = 0; forged = false
  :: else
  fi;
  step = IDLE
}

/* ---- Bookkeeping of the model. ---- */

inline move(to, from) {
  to.token = from.token;
  to.age = from.age
}

inline grow(the_age, limit) {
  if
  :: the_age < limit -> the_age++
  :: else
  fi
}

inline grow_older(held) {
  if
  :: held.token < newest && !lost_commits -> grow(held.age, LONG_AGO)
  :: else
  fi
}

/* Counts generations from the previous window on. No condition of the rule tells the difference. */
inline renumber() {
#ifdef RESTORE
  skip /* an older row may come back */
#else
  shift = row.previous_generation - FIRST;
  recount(jar);
  for (n : 1 .. TABS + 1) {
    recount(hand[n])
  }
  n = 0;
  row.hash = row.hash - shift;
  row.generation = row.generation - shift;
  row.window_generation = row.window_generation - shift;
  row.previous_generation = FIRST;
  newest = newest - shift;
  shift = 0
#endif
}

inline recount(held) {
  if
  :: held.token == NONE
  :: held.token != NONE && held.token < row.previous_generation -> held.token = OLD
  :: else -> held.token = held.token - shift
  fi
}

byte shift, n;

/* ---- Who takes part. ---- */

/* A browser sends what its jar holds at that moment. Answers are set late, in any order, or never. */
proctype tab() {
  bool forged;
  mtype step = IDLE;
end:
  do
  :: atomic { step == IDLE -> move(MINE, jar); step = SENT }
  :: atomic { step == SENT || step == SENT_AGAIN -> update(true) }
  :: atomic { step == MISSED -> explain(true) }
  :: atomic { step == ENDING -> end_session(true) }
  :: atomic { step == ANSWERED -> move(jar, MINE); done(true) }
  :: atomic { step != IDLE -> done(true) } /* a lost request, a lost answer, or a crash between two statements */
  od
}

#ifdef THIEF
inline forge() {
  forged = true;
  MINE.token = OLD;
  do
  :: MINE.token < LAST -> MINE.token++
  :: break
  od
}

/* Copies the jar at any moment, again and again; refreshes at any moment; and invents tokens of any generation. */
proctype thief() {
  bool forged;
  mtype step = IDLE;
end:
  do
  :: atomic { step == IDLE -> move(MINE, jar) }
  :: atomic { step == IDLE && MINE.token != NONE -> update(false) }
  :: atomic { step == IDLE && MINE.token == NONE -> forge(); update(false) }
  :: atomic { step == SENT || step == SENT_AGAIN -> update(false) }
  :: atomic { step == MISSED -> explain(false) }
  :: atomic { step == ENDING -> end_session(false) }
  :: atomic { step != IDLE -> done(false) }
  od
}
#endif

/* The owner signs out at some moment. */
proctype sign_out() {
  atomic { row.ended = true; over = true; promised = false }
}

#ifdef KEYS
/* The operator rolls keys over several copies of the server, until nobody knows the session's key any more. */
proctype roll_keys() {
end:
  do
  :: atomic { key == EVERYWHERE -> key = SOMEWHERE; promised = false }
  :: atomic { key == SOMEWHERE -> key = EVERYWHERE }
  :: atomic { key == SOMEWHERE -> key = GONE }
  od
}
#endif

#ifdef RESTORE
Row saved;

inline copy_row(to, from) {
  to.hash = from.hash;
  to.generation = from.generation;
  to.rotated = from.rotated;
  to.window = from.window;
  to.window_generation = from.window_generation;
  to.previous_generation = from.previous_generation;
  to.ended = from.ended
}

/* The database goes back, once, to the row of an earlier moment. */
proctype lose_commits() {
  atomic { copy_row(saved, row) }
  atomic { copy_row(row, saved); over = row.ended; lost_commits = true; promised = false }
}
#endif

/* Time passes at any moment, without end. */
proctype clock() {
end:
  do
  :: d_step {
#ifndef RESTORE
    !over -> /* an ended session looks at no time */
#endif
    grow(row.rotated, A_WHILE);
    grow(row.window, A_WHILE);
    grow_older(jar);
    for (n : 1 .. TABS + 1) {
      grow_older(hand[n])
    }
    n = 0;
#ifdef RESTORE
    if
    :: !lost_commits -> grow(saved.rotated, A_WHILE); grow(saved.window, A_WHILE)
    :: else
    fi
#endif
  }
  od
}

init {
  atomic {
    jar.token = FIRST;
    for (n : 1 .. TABS) {
      run tab()
    }
    n = 0;
#ifdef THIEF
    run thief();
#endif
#ifdef KEYS
    run roll_keys();
#endif
#ifdef RESTORE
    run lose_commits();
#endif
    run sign_out();
    run clock()
  }
}
