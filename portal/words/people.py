"""`PEOPLE` and `WORKS`: first names and professions of well-known people; who made well-known works."""

from portal.words.table import read_table

PEOPLE = read_table(
    "person",
    """
surname, first_name, profession
Ali, Muhammad, boxer/athlete
Austen, Jane, novelist/writer/poet/playwright
Bach, Johann/Carl, composer/musician
Beethoven, Ludwig, composer/musician
Bell, Alexander, inventor/physicist/businessman
Bezos, Jeff, businessman/inventor/politician/director
Bohr, Niels, physicist/chemist/mathematician/astronomer/philosopher/inventor
Bowie, David, singer/musician/actor/poet
Brahms, Johannes, composer/musician
Bryant, Kobe, athlete
Camus, Albert, novelist/writer/poet/playwright/philosopher
Cezanne, Paul, painter/director
Chaplin, Charlie/Charles, actor/director
Chekhov, Anton, playwright/writer/novelist/poet
Chopin, Frederic, composer/musician
Christie, Agatha, novelist/writer/poet/playwright
Churchill, Winston, politician/novelist/actor/businessman/philosopher
Clinton, Bill/Hillary, politician/novelist/actor/businessman/philosopher
Cobain, Kurt, singer/musician/actor/poet
Columbus, Christopher, explorer
Copernicus, Nicolaus, astronomer/physicist/mathematician/philosopher
Curie, Marie/Pierre, chemist/physicist/biologist/inventor
Darwin, Charles, biologist/chemist
Debussy, Claude, composer/musician
Descartes, Rene, philosopher/mathematician/physicist/novelist/writer/psychologist/politician
Dickens, Charles, novelist/writer/poet/playwright
Dickinson, Emily, poet/writer/novelist/playwright
Disney, Walt, businessman/inventor/politician/director
Dostoevsky, Fyodor, novelist/writer/poet/playwright
Dylan, Bob, singer/musician/actor/poet
Edison, Thomas, inventor/physicist/businessman
Einstein, Albert, physicist/chemist/mathematician/astronomer/philosopher/inventor
Eliot, George/Thomas, novelist/writer/poet/playwright
Euler, Leonhard, mathematician/physicist/astronomer/philosopher
Faraday, Michael, physicist/chemist/mathematician/astronomer/philosopher/inventor
Federer, Roger, athlete
Feynman, Richard, physicist/chemist/mathematician/astronomer/philosopher/inventor
Freud, Sigmund/Anna, psychologist/philosopher/biologist
Gagarin, Yuri, astronaut
Gates, Bill, businessman/inventor/politician/director
Gauss, Carl, mathematician/physicist/astronomer/philosopher
Handel, George, composer/musician
Hawking, Stephen, physicist/chemist/mathematician/astronomer/philosopher/inventor
Haydn, Joseph, composer/musician
Hegel, Georg, philosopher/mathematician/physicist/novelist/writer/psychologist/politician
Heisenberg, Werner, physicist/chemist/mathematician/astronomer/philosopher/inventor
Hemingway, Ernest, novelist/writer/poet/playwright
Hendrix, Jimi, musician/singer/composer
Hitchcock, Alfred, director/actor
Hubble, Edwin, astronomer/physicist/mathematician/philosopher
Hugo, Victor, novelist/writer/poet/playwright
Ibsen, Henrik, playwright/writer/novelist/poet
Jung, Carl, psychologist/philosopher/biologist
Kafka, Franz, novelist/writer/poet/playwright
Kant, Immanuel, philosopher/mathematician/physicist/novelist/writer/psychologist/politician
Keats, John, poet/writer/novelist/playwright
Kepler, Johannes, astronomer/physicist/mathematician/philosopher
Kubrick, Stanley, director/actor
Lennon, John, singer/musician/actor/poet
Lenin, Vladimir, politician/novelist/actor/businessman/philosopher
Lincoln, Abraham, politician/novelist/actor/businessman/philosopher
Locke, John, philosopher/mathematician/physicist/novelist/writer/psychologist/politician
Magellan, Ferdinand, explorer
Mandela, Nelson, politician/novelist/actor/businessman/philosopher
Marley, Bob, singer/musician/actor/poet
Marx, Karl/Groucho, philosopher/mathematician/physicist/novelist/writer/psychologist/politician
Melville, Herman, novelist/writer/poet/playwright
Mendel, Gregor, biologist/chemist
Monet, Claude, painter/director
Monroe, Marilyn/James, actress/politician/singer
Mozart, Wolfgang/Leopold, composer/musician
Musk, Elon, businessman/inventor/politician/director
Newton, Isaac, physicist/chemist/mathematician/astronomer/philosopher/inventor
Nietzsche, Friedrich, philosopher/mathematician/physicist/novelist/writer/psychologist/politician
Nixon, Richard, politician/novelist/actor/businessman/philosopher
Obama, Barack/Michelle, politician/novelist/actor/businessman/philosopher
Orwell, George, novelist/writer/poet/playwright
Pasteur, Louis, chemist/physicist/biologist/inventor
Picasso, Pablo, painter/director
Planck, Max, physicist/chemist/mathematician/astronomer/philosopher/inventor
Plath, Sylvia, poet/writer/novelist/playwright
Poe, Edgar, poet/writer/novelist/playwright
Presley, Elvis, singer/musician/actor/poet
Proust, Marcel, novelist/writer/poet/playwright
Putin, Vladimir, politician/novelist/actor/businessman/philosopher
Reagan, Ronald, politician/novelist/actor/businessman/philosopher
Sagan, Carl, astronomer/physicist/mathematician/philosopher
Schubert, Franz, composer/musician
Shakespeare, William, playwright/writer/novelist/poet
Sinatra, Frank, singer/musician/actor/poet
Spielberg, Steven, director/actor
Spinoza, Baruch, philosopher/mathematician/physicist/novelist/writer/psychologist/politician
Stalin, Joseph, politician/novelist/actor/businessman/philosopher
Steinbeck, John, novelist/writer/poet/playwright
Strauss, Johann/Richard, composer/musician
Tesla, Nikola, inventor/physicist/businessman
Thatcher, Margaret, politician/novelist/actor/businessman/philosopher
Tolstoy, Leo, novelist/writer/poet/playwright
Trump, Donald, politician/novelist/actor/businessman/philosopher
Turing, Alan, mathematician/physicist/astronomer/philosopher
Twain, Mark, novelist/writer/poet/playwright
Tyson, Mike, boxer/athlete
Verdi, Giuseppe, composer/musician
Verne, Jules, novelist/writer/poet/playwright
Vivaldi, Antonio, composer/musician
Wagner, Richard, composer/musician
Warhol, Andy, painter/director
Whitman, Walt, poet/writer/novelist/playwright
Wilde, Oscar, playwright/writer/novelist/poet
Woolf, Virginia, novelist/writer/poet/playwright
Wordsworth, William, poet/writer/novelist/playwright
Zuckerberg, Mark, businessman/inventor/politician/director
""",
)

WORKS = read_table(
    "work",
    """
title, author, kind, first_name
1984, Orwell, novel, George
A Farewell to Arms, Hemingway, novel, Ernest
A Tale of Two Cities, Dickens, novel, Charles
Aida, Verdi, opera, Giuseppe
Alice in Wonderland, Carroll, novel, Lewis
Animal Farm, Orwell, novel, George
Anna Karenina, Tolstoy, novel, Leo
Brave New World, Huxley, novel, Aldous
Candide, Voltaire, novel,
Carmen, Bizet, opera, Georges
Catch-22, Heller, novel, Joseph
Crime and Punishment, Dostoevsky, novel, Fyodor
David Copperfield, Dickens, novel, Charles
Don Giovanni, Mozart, opera, Wolfgang
Don Quixote, Cervantes, novel, Miguel
Dracula, Stoker, novel, Bram
Dubliners, Joyce, book, James
East of Eden, Steinbeck, novel, John
Emma, Austen, novel, Jane
Fahrenheit 451, Bradbury, novel, Ray
Faust, Goethe, play, Johann
Fidelio, Beethoven, opera, Ludwig
Frankenstein, Shelley, novel, Mary
Great Expectations, Dickens, novel, Charles
Guernica, Picasso, painting, Pablo
Gulliver's Travels, Swift, novel, Jonathan
Hamlet, Shakespeare, play, William
Harry Potter, Rowling, novel, Joanne
Heart of Darkness, Conrad, novel, Joseph
Huckleberry Finn, Twain, novel, Mark
Jane Eyre, Bronte, novel, Charlotte
King Lear, Shakespeare, play, William
La Traviata, Verdi, opera, Giuseppe
Leaves of Grass, Whitman, poem, Walt
Les Miserables, Hugo, novel, Victor
Leviathan, Hobbes, book, Thomas
Lolita, Nabokov, novel, Vladimir
Lord of the Flies, Golding, novel, William
Macbeth, Shakespeare/Verdi, play, William
Madame Bovary, Flaubert, novel, Gustave
Messiah, Handel, oratorio, George
Moby-Dick, Melville, novel, Herman
Mrs Dalloway, Woolf, novel, Virginia
Of Mice and Men, Steinbeck, novel, John
Oliver Twist, Dickens, novel, Charles
On the Origin of Species, Darwin, book, Charles
On the Road, Kerouac, novel, Jack
Othello, Shakespeare/Verdi, play, William
Paradise Lost, Milton, poem, John
Peter Pan, Barrie, play, James
Pride and Prejudice, Austen, novel, Jane
Rigoletto, Verdi, opera, Giuseppe
Robinson Crusoe, Defoe, novel, Daniel
Romeo and Juliet, Shakespeare/Prokofiev/Tchaikovsky, play, William
Sense and Sensibility, Austen, novel, Jane
Swan Lake, Tchaikovsky, ballet, Pyotr
The Aeneid, Virgil, poem,
The Bell Jar, Plath, novel, Sylvia
The Brothers Karamazov, Dostoevsky, novel, Fyodor
The Canterbury Tales, Chaucer, book, Geoffrey
The Catcher in the Rye, Salinger, novel, Jerome
The Da Vinci Code, Brown, novel, Dan
The Divine Comedy, Dante, poem,
The Four Seasons, Vivaldi, concerto, Antonio
The Grapes of Wrath, Steinbeck, novel, John
The Great Gatsby, Fitzgerald, novel, Scott
The Hobbit, Tolkien, novel, John
The Idiot, Dostoevsky, novel, Fyodor
The Iliad, Homer, poem,
The Jungle Book, Kipling, book, Rudyard
The Lord of the Rings, Tolkien, novel, John
The Magic Flute, Mozart, opera, Wolfgang
The Metamorphosis, Kafka, story, Franz
The Nutcracker, Tchaikovsky, ballet, Pyotr
The Odyssey, Homer, poem,
The Old Man and the Sea, Hemingway, novel, Ernest
The Picture of Dorian Gray, Wilde, novel, Oscar
The Plague, Camus, novel, Albert
The Prince, Machiavelli, book, Niccolo
The Raven, Poe, poem, Edgar
The Republic, Plato, book,
The Scarlet Letter, Hawthorne, novel, Nathaniel
The Scream, Munch, painting, Edvard
The Shining, King, novel, Stephen
The Starry Night, van Gogh, painting, Vincent
The Stranger, Camus, novel, Albert
The Sun Also Rises, Hemingway, novel, Ernest
The Time Machine, Wells, novel, Herbert
The Trial, Kafka, novel, Franz
To Kill a Mockingbird, Lee, novel, Harper
Tom Sawyer, Twain, novel, Mark
Tosca, Puccini, opera, Giacomo
Treasure Island, Stevenson, novel, Robert
Ulysses, Joyce/Homer, novel, James
Walden, Thoreau, book, Henry
War and Peace, Tolstoy/Prokofiev, novel, Leo
Water Lilies, Monet, painting, Claude
Wuthering Heights, Bronte, novel, Emily
""",
)
"""The author's first name and the kind of work are rivals only."""
